"""The tables of a dataset that is kept in the lake."""

import pyarrow as pa

from stir_ray.lake.schemas.columns import INT, TEXT, Column, TableSchema
from stir_ray.lake.schemas.measured import IMAGE_ID

INDEX = TableSchema(
    "index",
    (
        Column("split", TEXT, "`train` or `test`"),
        IMAGE_ID,
        Column("label", INT, "class, from 0"),
        Column("shard", INT, "number of the shard of the split that holds the image, from 0"),
        Column("digest", TEXT, "of the images of that shard"),
    ),
    key=("split", "image_id"),
)

SHARD = TableSchema(
    "shard",
    (
        IMAGE_ID,
        Column("image", pa.binary(), "an image file: as it was published, or a portable pixmap"),
    ),
    key=("image_id",),
)

DATASET_TABLES = (INDEX, SHARD)
