"""MusicEval's files where they are not as they should be: every complaint names the file and what is wrong."""

import shutil

import pytest

from musiceval_sk import ClipsTableError, SkippedWarning, load_musiceval, load_musiceval_ratings
from musiceval_sk.datasets.musiceval.layout import check_musiceval
from tests.made_musiceval import make_musiceval


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_musiceval(tmp_path_factory.mktemp("made") / "MusicEval-full", n_systems=2, n_prompts=3).folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "MusicEval-full")


def test_a_list_with_another_delimiter_is_named_with_its_lines(folder):
    path = folder / "sets" / "test_mos_list.txt"
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(
        ClipsTableError, match=r"test_mos_list.txt has no line of file.*line 1 has 1 cells instead of 3"
    ):
        load_musiceval(folder, "test", counts=None)


def test_an_empty_list_is_named(folder):
    (folder / "sets" / "test_mos_list.txt").write_text("")
    with pytest.raises(ClipsTableError, match=r"test_mos_list.txt has no line of .*: it is empty"):
        load_musiceval(folder, "test", counts=None)


def test_an_empty_list_beside_others_is_a_difference(folder):
    (folder / "sets" / "dev_mos_list.txt").write_text("")
    with pytest.warns(UserWarning, match="clips in the total list or in train, dev, test, not in both"):
        clips = load_musiceval(folder, counts=None)
    assert "dev" not in set(clips["split"])


def test_ratings_with_another_delimiter_are_an_error(folder):
    path = folder / "person_mos" / "total_person_mos.txt"
    path.write_text(path.read_text().replace(",", "\t"))
    with pytest.raises(
        ClipsTableError, match="no line of file,rater,impression,alignment: .*line 1 has 1 cells"
    ):
        load_musiceval_ratings(folder)


def test_ratings_that_cannot_be_read_are_counted(folder):
    path = folder / "person_mos" / "total_person_mos.txt"
    first, second, *others = path.read_text().splitlines()
    file, rater, _, alignment = second.split(",")
    path.write_text("\n".join([first + ",more", f"{file},{rater},x,{alignment}", *others]))
    with pytest.warns(
        SkippedWarning, match=r"line 1 has 5 cells instead of 4, scores that are no number in 1 lines"
    ):
        ratings = load_musiceval_ratings(folder)
    assert len(ratings) == len(others) + 1
    assert ratings["impression"].isna().sum() == 1


def test_counts_of_another_kind_are_an_error(folder):
    with pytest.raises(TypeError, match='counts=36 must be "official", a mapping of list to clips, or None'):
        load_musiceval(folder, counts=36)


class TestParquet:
    @pytest.fixture
    def table(self, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet comes with the extra 'parquet'")
        folder = make_musiceval(tmp_path / "made", "parquet", n_systems=1, n_prompts=2).folder
        return parquet, parquet.read_table(next(iter(sorted(folder.rglob("*.parquet")))))

    def test_a_damaged_shard_is_named(self, table, tmp_path):
        (tmp_path / "train.parquet").write_bytes(b"no parquet")
        with pytest.raises(ClipsTableError, match=r"train.parquet: cannot be read as Parquet"):
            load_musiceval(tmp_path / "train.parquet")

    def test_a_shard_that_is_not_there_is_no_folder(self, tmp_path):
        with pytest.raises(ClipsTableError, match="no such file or folder"):
            load_musiceval(tmp_path / "train.parquet")

    def test_scores_that_are_no_numbers_are_a_difference(self, table, tmp_path):
        parquet, rows = table
        place = rows.schema.get_field_index("impression")
        parquet.write_table(
            rows.set_column(place, "impression", [["good"] * len(rows)]), tmp_path / "train.parquet"
        )
        found = check_musiceval(tmp_path / "train.parquet", counts=None).set_index("check")
        assert found.loc["impression: scores that are no number from 1 to 5", "found"] == str(len(rows))

    def test_unknown_names_of_columns_are_an_error(self, table, tmp_path):
        parquet, rows = table
        parquet.write_table(rows, tmp_path / "train.parquet")
        with pytest.raises(
            ValueError, match="unknown columns= 'mos'; choose from audio, impression, alignment"
        ):
            load_musiceval(tmp_path / "train.parquet", columns={"mos": "impression"})
