"""What every store of objects must do. Inherit, and give the fixture `objects`."""

from __future__ import annotations

import pickle
import pickletools

import pytest
from fsspec.core import url_to_fs

from stir_ray.lake.objects import Objects

CONTENTS = {"empty": b"", "one": b"\n", "text": b"\r\n\x1a", "all bytes": bytes(range(256)) * 397}


class ObjectsContract:
    """Laws of whole objects by key, wherever they lie."""

    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
    def test_an_object_is_read_as_it_was_written(self, objects: Objects, content: bytes) -> None:
        objects.put("a/key", content)
        assert objects.get("a/key") == content

    @pytest.mark.parametrize("second", CONTENTS.values(), ids=CONTENTS)
    def test_the_last_put_replaces_the_whole_object(self, objects: Objects, second: bytes) -> None:
        objects.put("key", b"first" * 101)
        objects.put("key", second)
        assert objects.get("key") == second
        assert objects.sizes("") == {"key": len(second)}

    def test_what_was_never_put_is_not_there(self, objects: Objects) -> None:
        objects.put("folder/key", b"x")
        for absent in ("key", "folder/ke", "folder/key2", "other/key"):
            assert not objects.exists(absent)
            with pytest.raises(FileNotFoundError):
                objects.get(absent)

    def test_an_object_exists_from_put_to_delete(self, objects: Objects) -> None:
        assert not objects.exists("folder/key")
        objects.put("folder/key", b"x")
        objects.put("folder/other", b"y")
        assert objects.exists("folder/key")
        objects.delete("folder/key")
        assert not objects.exists("folder/key")
        assert objects.get("folder/other") == b"y"

    def test_deleting_what_is_not_there_is_well(self, objects: Objects) -> None:
        objects.delete("folder/key")
        objects.put("folder/key", b"x")
        objects.delete("folder/key")
        objects.delete("folder/key")
        assert objects.sizes("") == {}

    def test_a_listing_gives_the_size_of_every_object_below(self, objects: Objects) -> None:
        written = {"a/b/c/deep": 7, "a/b/flat": 5, "a/bc/sibling": 3, "a/b.txt": 2, "z": 11}
        for key, size in written.items():
            objects.put(key, b"." * size)
        assert objects.sizes("a/b") == {"a/b/c/deep": 7, "a/b/flat": 5}
        assert objects.sizes("a/b/c") == {"a/b/c/deep": 7}
        assert objects.sizes("a") == {key: size for key, size in written.items() if key != "z"}

    def test_a_listing_of_nothing_is_empty(self, objects: Objects) -> None:
        assert objects.sizes("parts/none") == {}
        objects.put("parts/some/key", b"x")
        assert objects.sizes("parts/none") == {}
        assert objects.sizes("parts/so") == {}

    def test_a_listing_shows_what_was_put_since_the_last_one(self, objects: Objects) -> None:
        objects.put("parts/first", b"x")
        assert set(objects.sizes("parts")) == {"parts/first"}
        Objects(objects.url).put("parts/second", b"y")
        assert set(objects.sizes("parts")) == {"parts/first", "parts/second"}

    def test_many_objects_come_in_the_order_asked_for(self, objects: Objects) -> None:
        keys = [f"many/{number % 7}/{number}" for number in range(37)]
        for key in keys:
            objects.put(key, key.encode())
        backwards = [*reversed(keys), keys[3]]
        assert list(objects.get_many(backwards)) == [key.encode() for key in backwards]
        with pytest.raises(FileNotFoundError):
            list(objects.get_many([*keys, "many/absent"]))

    def test_only_the_url_travels_to_a_worker(self, objects: Objects) -> None:
        objects.put("key", b"content")
        shipped = pickle.dumps(objects)
        texts = {text for _, text, _ in pickletools.genops(shipped) if isinstance(text, str)}
        assert texts == {"stir_ray.lake.objects", "Objects", objects.url}
        assert pickle.loads(shipped).get("key") == b"content"  # noqa: S301 - made above

    def test_another_program_finds_an_object_at_its_location(self, objects: Objects) -> None:
        objects.put("folder/key", b"content")
        system, path = url_to_fs(objects.location("folder/key"))
        assert system.cat_file(path) == b"content"
        assert objects.location("folder/key").startswith(objects.location())

    def test_a_lake_that_works_passes_its_check_and_is_left_as_it_was(
        self, objects: Objects
    ) -> None:
        objects.put("key", b"x")
        objects.check()
        assert objects.sizes("") == {"key": 1}
