"""The tables of a dataset that is kept in the lake."""

import pyarrow as pa

from stir_ray.lake.schemas.columns import INT, TEXT, Column, TableSchema

INDEX = TableSchema(
    "index",
    (
        Column("split", TEXT, "`train` or `test`"),
        Column("image_id", INT, "place of the image in its dataset"),
        Column("label", INT, "class, from 0"),
        Column("shard", INT, "number of the shard of the split that holds the image, from 0"),
        Column("digest", TEXT, "of the images of that shard"),
    ),
    key=("split", "image_id"),
)

SHARD = TableSchema(
    "shard",
    (
        Column("image_id", INT, "place of the image in its dataset"),
        Column("image", pa.binary(), "an image file: as it was published, or a portable pixmap"),
    ),
    key=("image_id",),
)

DATASET_TABLES = (INDEX, SHARD)
