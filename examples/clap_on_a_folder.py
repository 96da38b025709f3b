"""CLAP embeddings of one's own folder of clips, kept in a cache, as a table.

    python examples/clap_on_a_folder.py FOLDER --checkpoint music_audioset_epoch_15_esc_90.14.pt

Without a folder it makes a few simulated clips; without a checkpoint it says so and uses the hand-made `spectral`
encoder, so that it runs as it stands.
"""

import argparse
import tempfile
from pathlib import Path

from musiceval_sk import ClipEmbedder, load_clips, make_listening_test


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="folder of sound files")
    parser.add_argument("--checkpoint", help="CLAP checkpoint (.pt)")
    parser.add_argument(
        "--pattern", help="how file paths name system and prompt, e.g. '{system}/{prompt_id}'"
    )
    parser.add_argument(
        "--cache", default="clap-embeddings.h5", help="embedding store (default: %(default)s)"
    )
    parser.add_argument("--out", default="embeddings.csv", help="table to write (default: %(default)s)")
    arguments = parser.parse_args()

    folder, pattern = arguments.folder, arguments.pattern
    if folder is None:
        folder, pattern = Path(tempfile.mkdtemp()), "audio/{system}_{prompt_id}"
        make_listening_test(folder, n_systems=3, n_prompts=4, n_raters=5, seconds=2.0)
        print(f"no folder given: made 12 simulated clips in {folder}")
    clips = load_clips(folder, pattern=pattern)

    encoder, options = "laion-clap", {"checkpoint": arguments.checkpoint}
    if arguments.checkpoint is None:
        encoder, options = "spectral", None
        print("no --checkpoint given: these are 'spectral' statistics, not CLAP embeddings")
    embedder = ClipEmbedder(encoder, modality="audio", cache=arguments.cache, encoder_options=options)
    table = embedder.set_output(transform="pandas").fit_transform(clips)
    table.to_csv(arguments.out)
    print(f"{len(table)} clips x {table.shape[1]} columns -> {arguments.out}; kept in {arguments.cache}")


if __name__ == "__main__":
    main()
