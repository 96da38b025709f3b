import numpy as np
import pytest

from musiceval_sk import ClipEmbedder, EmbeddingStore, ModelFileError, extract
from musiceval_sk.features.extract import describe_difference
from tests.features.toy import ToyEncoder


class Checkpointed(ToyEncoder):
    """A toy with a checkpoint."""

    def __init__(self, digest, version=1, **more):
        super().__init__(version)
        self.digest = digest
        self.more = more

    def describe(self, modality):
        return {**super().describe(modality), "checkpoint_sha256": self.digest, **self.more}


@pytest.fixture
def store(tmp_path):
    return EmbeddingStore(tmp_path / "embeddings.h5")


def test_another_checkpoint_is_named_by_extract(store, write_sounds):
    clips = write_sounds(0.5, 0.3)
    extract(clips, Checkpointed("1a2b3c4d" * 8), store)
    assert extract(clips, Checkpointed("1a2b3c4d" * 8), store).notes == []
    report = extract(clips.iloc[:1], Checkpointed("3c4d5e6f" * 8), store, modality="audio")
    line = "the store holds 2 sounds of toy with another checkpoint_sha256: 1a2b3c4d1a2b… there, 3c4d5e6f3c4d… here"
    assert report.notes == [line]
    assert f"\n  note: {line}\n" in str(report)
    assert extract(clips, Checkpointed("3c4d5e6f" * 8), store, modality="audio").notes == []


def test_the_nearest_of_several_encoders_is_described(store, write_sounds):
    clips = write_sounds(0.5)
    extract(clips, Checkpointed("a", version=2, hop=1.0), store)
    extract(clips, Checkpointed("a", version=2), store)
    store.append("text", {"name": "other"}, [bytes(32)], [np.ones(3)])
    assert describe_difference(store, Checkpointed("a"), "text") == (
        "the store holds 1 prompt of toy with another version: 2 there, 1 here (+1 more encodings of that name)"
    )
    assert "version: 2 there, 1 here; hop: 1.0 there, 2.0 here (+1" in describe_difference(
        store, Checkpointed("a", hop=2.0)
    )
    assert describe_difference(store, Checkpointed("a", version=2)) == ""
    assert "version: 2 there, 1 here; window: absent there, 9 here (+1" in describe_difference(
        store, Checkpointed("a", window=9)
    )
    stranger = ToyEncoder()
    stranger.name = "stranger"
    assert describe_difference(store, stranger) == ""


def test_digests_that_begin_alike_are_shown_whole(store):
    store.append("audio", Checkpointed("a" * 64).describe("audio"), [bytes(32)], [np.ones(3)])
    line = describe_difference(store, Checkpointed("a" * 63 + "b"))
    assert f"{'a' * 64} there, {'a' * 63}b here" in line


def test_an_embedder_of_another_encoder_names_the_fields(write_sounds, store):
    clips = write_sounds(0.5)
    embedder = ClipEmbedder(Checkpointed("1a2b3c4d" * 8), cache=store.path).fit(clips)
    embedder.encoder_ = Checkpointed("3c4d5e6f" * 8, version=2)
    fields = "version: 1 at fit, 2 now; checkpoint_sha256: 1a2b3c4d1a2b… at fit, 3c4d5e6f3c4d… now"
    with pytest.raises(ModelFileError, match=rf"have changed \(audio {fields}; text {fields}\)"):
        embedder.transform(clips)
