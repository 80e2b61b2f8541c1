"""What every store of objects must do. Inherit, and give the fixture `objects`."""

from __future__ import annotations

import pickle
import pickletools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from fsspec.core import url_to_fs

from stir_ray.lake.store import ObjectStore, map_concurrent

ODD_KEYS = (
    *("a b/c+d", "100%/%2F", "é/ß/日本", "q?x=1&y=2", "#/;,=@:", "[*]"),
    *("..dots../...", "x.tmp-7", "k" * 200),
)
CONTENTS = (b"", b"\n", b"\r\n\x1a", bytes(range(256)) * 397)


class ObjectsContract:
    """Laws of whole objects by key, wherever they lie."""

    replaces_atomically = True
    """Whether readers see the old object or the new one while several writers replace it."""

    def test_an_object_is_what_was_last_written_until_it_is_deleted(
        self, objects: ObjectStore
    ) -> None:
        objects.delete("a/key")
        for content in CONTENTS:
            objects.put("a/key", b"first" * 101)
            objects.put("a/key", content)
            assert objects.exists("a/key")
            assert objects.get("a/key") == content
            assert objects.list("") == {"a/key": len(content)}
        objects.put("a/other", b"y")
        for _ in range(2):
            objects.delete("a/key")
            assert not objects.exists("a/key")
        assert objects.get("a/other") == b"y"

    def test_a_key_without_an_object_and_a_folder_are_not_there(self, objects: ObjectStore) -> None:
        objects.put("folder/deeper/key", b"x")
        for absent in ("key", "folder/deeper/ke", "other/key", "folder", "folder/deeper"):
            assert not objects.exists(absent)
            with pytest.raises(FileNotFoundError):
                objects.get(absent)

    def test_a_key_may_be_any_relative_path(self, objects: ObjectStore) -> None:
        for key in ODD_KEYS:
            objects.put(f"odd/{key}", b"content")
            assert objects.get(f"odd/{key}") == b"content"
            assert objects.exists(f"odd/{key}")
            assert objects.list("odd") == {f"odd/{key}": 7}
            objects.delete(f"odd/{key}")
            assert objects.list("odd") == {}

    def test_a_listing_gives_the_size_of_every_object_below(self, objects: ObjectStore) -> None:
        assert objects.list("a") == {}
        written = {"a/b/c/deep": 7, "a/b/flat": 5, "a/bc/sibling": 3, "a/b.txt": 2, "z": 11}
        for key, size in written.items():
            objects.put(key, b"." * size)
        assert objects.list("a/b") == {"a/b/c/deep": 7, "a/b/flat": 5}
        assert objects.list("a") == {key: size for key, size in written.items() if key != "z"}
        assert objects.list("a/none") == objects.list("a/b/fl") == {}
        ObjectStore(objects.url).put("a/b/new", b"y")
        assert objects.list("a/b") == {"a/b/c/deep": 7, "a/b/flat": 5, "a/b/new": 1}
        # Stores note whole seconds, and their clocks may be ahead.
        assert all(-5 < age < 60 for age in objects.ages("a").values())
        assert objects.ages("a").keys() == objects.list("a").keys()

    def test_many_objects_come_in_order_and_an_absent_one_after_those_before_it(
        self, objects: ObjectStore
    ) -> None:
        keys = [f"many/{number % 7}/{number}" for number in range(37)]
        for key in keys:
            objects.put(key, key.encode())
        backwards = [*reversed(keys), keys[3]]
        assert list(map_concurrent(objects.get, backwards)) == [key.encode() for key in backwards]
        contents = map_concurrent(objects.get, [*keys[:5], "many/none", *keys])
        assert [next(contents) for _ in range(5)] == [key.encode() for key in keys[:5]]
        with pytest.raises(FileNotFoundError, match="many/none"):
            next(contents)

    def test_writers_of_the_same_key_leave_one_whole_object(self, objects: ObjectStore) -> None:
        # A store that rewrites in place may tell the size of one version with the bytes of another.
        lengths = [50_021 + number * self.replaces_atomically for number in range(11)]
        contents = [bytes([number]) * length for number, length in enumerate(lengths)]
        with ThreadPoolExecutor(len(contents)) as writers:
            writes = [
                writers.submit(objects.put, "folder/key", content)
                for content in random.Random(3).choices(contents, k=37)  # noqa: S311 - no secret
            ]
            while not all(write.done() for write in writes):
                if self.replaces_atomically and objects.exists("folder/key"):
                    assert objects.get("folder/key") in contents
            assert {write.result() for write in writes} == {None}
        assert objects.get("folder/key") in contents
        assert set(objects.list("")) == {"folder/key"}

    def test_only_url_and_retry_time_travel_to_a_worker(self, objects: ObjectStore) -> None:
        objects.put("key", b"content")
        shipped = pickle.dumps(objects)
        values = [value for _, value, _ in pickletools.genops(shipped)]
        texts = {value for value in values if isinstance(value, str)}
        assert texts == {"stir_ray.lake.store", "ObjectStore", objects.url}
        arrived = pickle.loads(shipped)  # noqa: S301 - made above
        assert arrived.retry_timeout_s == objects.retry_timeout_s
        assert arrived.get("key") == b"content"

    def test_another_program_finds_an_object_at_its_location(self, objects: ObjectStore) -> None:
        objects.put("folder/key", b"content")
        system, path = url_to_fs(objects.location("folder/key"))
        assert system.cat_file(path) == b"content"

    def test_a_check_passes_and_leaves_a_lake_as_it_was(self, objects: ObjectStore) -> None:
        objects.put("key", b"x")
        objects.check()
        assert objects.list("") == {"key": 1}
        assert not objects.temp_files()
