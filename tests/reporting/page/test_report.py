"""The HTML report: its verdicts, what it shows of a study, its sounds, and that texts stay texts."""

import html
import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from musiceval_sk import write_report
from musiceval_sk.exceptions import ClipsTableError, SkippedWarning
from musiceval_sk.reporting.page.media import collect_sounds, draw_pictures, relative_url
from musiceval_sk.reporting.page.sections import gather, pair_agreement, verdict
from tests.reporting.studies import HOSTILE, made_clips, made_study

pytest.importorskip("jinja2", reason="reports come with the extra 'report'")
pytest.importorskip("matplotlib", reason="reports come with the extra 'report'")


@pytest.fixture
def without_figures(monkeypatch):
    """Drawing takes most of a page's time; tests that look at something else do without."""
    monkeypatch.setattr("musiceval_sk.reporting.page.report.draw_pictures", lambda section: {})


@pytest.fixture
def clips():
    return made_clips()


def quality(clips):
    return pd.factorize(clips["system"])[0].astype(float)


def section_of(study, clips):
    return gather(study, clips)[0][0]


def judged(study, clips):
    return verdict(section_of(study, clips))


def payload_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_verdict_where_a_predictor_is_ahead_of_guessing(clips):
    study = made_study(clips, {"global mean": None, "ridge": quality(clips) ** 2}, resamples=0)
    found = judged(study, clips)
    assert found.outcome == "open"  # there is no interval, so nothing says that it is more than chance
    assert "was not tested" in found.sentence


def test_verdict_with_an_interval_above_zero(clips):
    swapped = quality(clips)
    swapped[swapped == 0] = 2.5  # the worst system between its third and fourth neighbour
    found = judged(made_study(clips, {"global mean": None, "ridge": swapped}), clips)
    assert found.outcome == "ahead"
    # 66 pairs of 12 systems, of which the worst is wrong against the two that stand below it now: 64 / 66.
    assert found.sentence == (
        "Of two systems it has never heard, ridge picks the one that raters scored higher 97 times in 100, guessing 50."
    )
    assert "S_SRCC, pooled: ridge 0.98, 95 % interval" in found.evidence


def test_verdict_of_a_tie(clips):
    study = made_study(clips, {"system mean": quality(clips), "ridge": quality(clips)}, shared=1.0)
    found = judged(study, clips)
    assert found.outcome == "behind"
    assert "system mean comes as close to the raters' order of systems as ridge" in found.sentence


def test_a_lookup_below_zero_is_no_yardstick(clips):
    # Of noise under a split by system both lie far below 0, and one of them is farther down.
    places = np.random.default_rng(1).permutation(12)
    bad, worse = -quality(clips) + places[quality(clips).astype(int)], -quality(clips)
    study = made_study(clips, {"prompt mean": worse, "ridge": bad}, resamples=500)
    found = judged(study, clips)
    assert study.table("impression").loc["ridge", "S_SRCC"] < 0
    assert found.outcome == "behind"
    assert found.sentence.startswith("No predictor does better than guessing: the best, ridge, puts ")


def test_ahead_of_a_lookup_takes_an_interval_above_zero(clips):
    weak = np.array([3, 9, 1, 7, 2, 8, 0, 11, 4, 6, 5, 10])[quality(clips).astype(int)]
    study = made_study(clips, {"prompt mean": -quality(clips), "ridge": weak}, resamples=2000)
    assert study.comparisons["p_holm"].item() < 0.05
    found = judged(study, clips)
    assert found.outcome == "open"
    assert found.sentence.endswith("with 12 systems that may be no better than guessing.")


def test_verdict_where_the_lookup_wins(clips):
    shuffled = np.random.default_rng(1).permutation(quality(clips))
    study = made_study(clips, {"system mean": quality(clips), "ridge": shuffled}, shared=1.0)
    found = judged(study, clips)
    assert found.outcome == "behind"
    assert found.sentence.startswith("No predictor beats the baseline without audio: system mean")
    assert found.sentence.endswith("than ridge, the best that uses audio.")
    assert "mean of folds" in found.evidence  # pooled, the look-up would score 1 by construction


def test_verdict_with_few_systems_is_none():
    clips = made_clips(n_systems=4)
    found = judged(made_study(clips, {"ridge": quality(clips)}), clips)
    assert found.outcome == "unknown"
    assert found.sentence.startswith("Too few systems to tell: ridge puts 100 % of pairs")
    assert found.sentence.endswith("but 4 systems make only 6 pairs.")


def test_verdict_without_systems_goes_by_clips(clips):
    nameless = clips.drop(columns="system")
    found = judged(made_study(nameless, {"ridge": np.arange(len(clips))}), nameless)
    assert found.sentence.startswith("Of two clips, ridge picks")
    assert found.evidence.startswith("U_SRCC, pooled: ridge")


def test_verdict_where_nothing_can_be_judged(clips):
    found = judged(made_study(clips, {"global mean": None, "ridge": None}), clips)
    assert found.sentence == "No predictor that uses audio could be judged."
    assert "ridge: cannot be judged under this split" in found.evidence


def test_verdict_where_the_interval_reaches_below_zero(clips):
    weak = np.array([3, 9, 1, 7, 2, 8, 0, 11, 4, 6, 5, 10])[quality(clips).astype(int)]
    found = judged(made_study(clips, {"ridge": weak}), clips)
    assert found.outcome == "open"
    assert found.sentence.endswith("with 12 systems that may be no better than guessing.")


def test_pair_agreement_counts_ties_half_and_skips_equal_truths():
    clips = made_clips(n_systems=4, n_prompts=1)
    study = made_study(clips, {"ridge": [1.0, 1.0, 3.0, 2.0]}, truth=np.array([1.0, 2.0, 3.0, 3.0]))
    # Pairs that raters tell apart: 01 (tie, half), 02, 03, 12, 13 (right); 23 is equal in truth.
    assert pair_agreement(section_of(study, clips), "ridge") == pytest.approx(4.5 / 5)


def test_verdict_where_a_paired_test_tells_it_from_the_lookup(clips):
    shuffled = np.random.default_rng(1).permutation(12)[quality(clips).astype(int)]
    predictors = {"prompt mean": shuffled, "ridge": quality(clips)}
    study = made_study(clips, predictors, resamples=2000)
    found = judged(study, clips)
    assert found.outcome == "ahead"
    assert "the baseline prompt mean, which uses no audio," in found.sentence
    p_value = study.comparisons["p_holm"].item()
    assert p_value < 0.05
    assert f"p = {p_value:.3f} by swapping the two" in found.evidence


def test_verdict_where_a_paired_test_does_not(clips):
    near = quality(clips)
    near[near == 0] = 2.5
    found = judged(made_study(clips, {"prompt mean": near, "ridge": quality(clips)}), clips)
    assert found.outcome == "open"
    assert found.sentence.endswith("with 12 systems that may be no better than prompt mean.")


@pytest.mark.usefixtures("without_figures")
def test_splits_features_intervals_and_tests_of_a_study_are_shown(clips, tmp_path):
    swapped = quality(clips)
    swapped[swapped == 0] = 2.5
    study = made_study(
        clips,
        {"ridge": quality(clips), "SVR": swapped},
        splits=["system", "prompt"],
        features=["clap", "spectral"],
    )
    study.about["human_ceiling"]["impression"] = {"another panel": {"S_SRCC": 0.9876}}
    sections, _ = gather(study, clips)
    assert [section.title for section in sections] == ["impression, split system", "impression, split prompt"]
    predictors = ["ridge (clap)", "ridge (spectral)", "SVR (clap)", "SVR (spectral)"]
    assert list(sections[0].tables["pooled"].index) == predictors
    text = write_report(study, tmp_path / "r.html", clips=clips, audio="none").read_text()
    low, high = study.interval("impression", "SVR (clap)", split="system")
    assert f"{low:.2f} to {high:.2f}" in text
    assert "Musical impression, split &#39;prompt&#39;" in text
    assert "0.988" in text
    test = sections[0].tests.iloc[-1]
    assert f"<bdi>{test.behind}</bdi> by {test.difference:.3f}" in text
    assert "<dt>Split prompt</dt>" in text


def test_predictions_off_the_raters_scale_are_counted_on_the_page(clips, tmp_path, without_figures):
    study = made_study(clips, {"ridge": np.where(np.arange(len(clips)) < 2, 6.44, quality(clips) / 4 + 1)})
    study = replace(study, about=study.about | {"scale": [1.0, 5.0]})
    page = write_report(study, tmp_path / "report.html", clips=clips).read_text(encoding="utf-8")
    words = "<li>ridge: 2 of 48 predictions lie off the raters&#39; scale, 1 to 5, by up to 1.44"
    words += f": {clips.index[0]}, {clips.index[1]}.</li>"
    assert words in page


def test_the_scatters_title_is_the_score_that_decides(clips, monkeypatch):
    titles = []
    monkeypatch.setattr(
        "musiceval_sk.reporting.page.media._as_uri",
        lambda figure: titles.append(figure.axes[0].get_title()) or "",
    )
    # The first two of twelve systems change places: 1 - 6 * 2 / (12 * 143) = .993.
    swapped = np.where(quality(clips) < 2, 1 - quality(clips), quality(clips))
    study = made_study(clips, {"ridge": swapped}, splits=["prompt"])
    section = section_of(study, clips)
    assert len(draw_pictures(section)) == len(titles) == 4
    low, high = study.interval("impression", "ridge", split="prompt")
    assert titles[0] == f"S_SRCC, {section.kind}: 0.99, 95 % interval {low:.2f} to {high:.2f}"


def test_a_clip_tested_twice_counts_once_with_its_mean_prediction(clips):
    study = made_study(clips, {"truth": quality(clips)})
    again = study.predictions.assign(fold=9, prediction=study.predictions["prediction"] + 1)
    doubled = replace(study, predictions=pd.concat([study.predictions, again]))
    assert section_of(doubled, clips).predictions["truth"].tolist() == (quality(clips) + 0.5).tolist()


@pytest.mark.usefixtures("without_figures")
def test_spread_is_the_standard_deviation_of_the_raters(clips, tmp_path):
    first = clips.index[0]
    ratings = pd.DataFrame({"rater": list("ABC"), "clip_id": first, "impression": [1, 2, 3]})
    page = write_report(
        made_study(clips, {"ridge": quality(clips)}),
        tmp_path / "r.html",
        clips=clips,
        ratings=ratings,
        audio="none",
    )
    section = payload_of(page)["sections"][0]
    assert section["spread"][:2] == [1, None]
    assert section["count"][:2] == [3, None]


@pytest.mark.usefixtures("without_figures")
def test_without_a_clips_table_the_page_says_what_is_missing(clips, tmp_path):
    study = made_study(clips, {"ridge": quality(clips)})
    page = write_report(study, tmp_path / "r.html")
    content = payload_of(page)
    assert content["systems"] == [] and content["prompts"] == []
    assert "48 clips have no sound here, for no file is known" in page.read_text()


def test_clips_that_the_table_lacks_are_counted(clips):
    study = made_study(clips, {"ridge": quality(clips)})
    with pytest.warns(SkippedWarning, match="lacks 47 of the study's 48 clips: S00_P1, .* more"):
        gather(study, clips.iloc[:1])
    with pytest.raises(
        ClipsTableError, match="none of the study's 48 clips is in the clips table: .* the table has x"
    ):
        gather(study, clips.iloc[:1].set_axis(["x"]))


def test_hostile_texts_stay_texts(tmp_path):
    clips = made_clips(names=HOSTILE + "{}", prompts=HOSTILE + "{}")
    study = made_study(clips, {HOSTILE: quality(clips), "ridge": quality(clips)[::-1]})
    study.about["features"] = {"X": HOSTILE}
    study.about["splits"]["system"]["meaning"] = HOSTILE
    page = write_report(study, tmp_path / "r.html", clips=clips, audio="none", note=HOSTILE)
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == 2 and text.count("</script") == 2
    assert "window.hacked" in text and "<!--" not in text
    assert html.escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in text
    content = payload_of(page)
    assert content["systems"][0] == HOSTILE + "0" and content["prompts"][0] == HOSTILE + "0"
    raw = text.split('id="data">')[1]
    assert "\u2028" not in raw.split("</script>")[0]


@pytest.mark.usefixtures("without_figures")
def test_page_names_no_other_place(clips, tmp_path):
    page = write_report(
        made_study(clips, {"ridge": quality(clips)}), tmp_path / "r.html", clips=clips, audio="none"
    )
    text = page.read_text()
    assert "default-src 'none'" in text
    # The one address in it is the name of a namespace, which browsers never fetch.
    assert set(re.findall(r"https?://[^\s'\"<]+", text)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("javascript:alert(1).wav", "javascript%3Aalert%281%29.wav"),
        ('a "b" <c>#?&%.wav', "a%20%22b%22%20%3Cc%3E%23%3F%26%25.wav"),
        ("ünï.wav", "%C3%BCn%C3%AF.wav"),
        ("\udcff.wav", "%FF.wav"),
        ("//evil.example/x.wav", None),
    ],
)
def test_urls_are_relative_and_encoded(tmp_path, name, url):
    page = tmp_path / "out" / "r.html"
    expected = f"../{url}" if url else None
    path = tmp_path / name
    found = relative_url(path, page)
    assert found == expected if expected else not found.startswith("//")


def sound(path, size=300):
    path.write_bytes(b"ID3".ljust(size, b"x"))
    return str(path)


def test_linked_sounds_that_are_missing_or_no_sound_are_counted(tmp_path):
    paths = pd.Series(
        {
            "a": sound(tmp_path / "a.wav"),
            "b": str(tmp_path / "gone.wav"),
            "c": sound(tmp_path / "secret.txt"),
            "d": None,
        }
    )
    sounds = collect_sounds(paths.to_frame("path"), paths.index, tmp_path / "r.html", "link", 1.0)
    assert sounds.links == {"a": "a.wav"}
    assert list(sounds.left_out.values()) == [["b"], ["c"], ["d"]]
    assert sounds.sentences()[0] == "1 clip has no sound here, for the file is not there: b."


def test_embedding_stops_at_the_limit_and_says_what_is_left_out(tmp_path):
    paths = pd.Series({name: sound(tmp_path / f"{name}.mp3") for name in "abc"})
    # 300 bytes are 400 characters in base64: two of them fit into 900.
    sounds = collect_sounds(paths.to_frame("path"), ["c", "a", "b"], tmp_path / "r.html", "embed", 0.0009)
    assert list(sounds.embedded) == ["c", "a"]
    assert sounds.embedded["c"][0] == "audio/mpeg"
    assert sounds.sentences() == [
        "1 clip has no sound here, for embedded sounds may add 0.0009 MB at most: b."
    ]


def test_a_file_that_bears_a_sounds_name_alone_is_not_embedded(tmp_path):
    (tmp_path / "secret").write_text("root:x:0:0")
    (tmp_path / "a.wav").symlink_to(tmp_path / "secret")
    paths = pd.Series({"a": str(tmp_path / "a.wav")})
    sounds = collect_sounds(paths.to_frame("path"), ["a"], tmp_path / "r.html", "embed", 1.0)
    assert not sounds.embedded and list(sounds.left_out) == ["for the file does not begin as a sound"]


def test_a_part_of_a_file_is_played_as_such(tmp_path):
    path = sound(tmp_path / "a.wav")
    clips = pd.DataFrame(
        {"path": path, "start_time": [None, 1.5, 2, None], "end_time": [None, 3, None, 0.5]},
        index=list("abcd"),
    )
    linked = collect_sounds(clips, clips.index, tmp_path / "r.html", "link", 1.0)
    # Media Fragments URI 1.0, 4.2.1
    assert list(linked.links.values()) == ["a.wav", "a.wav#t=1.5,3", "a.wav#t=2", "a.wav#t=0,0.5"]
    held = collect_sounds(clips, clips.index, tmp_path / "r.html", "embed", 1.0)
    assert [text[400:] for _, text in held.embedded.values()] == ["", "#t=1.5,3", "#t=2", "#t=0,0.5"]


@pytest.mark.usefixtures("without_figures")
def test_embedded_sounds_begin_with_the_farthest_from_the_raters(clips, tmp_path):
    for place, clip_id in enumerate(clips.index):
        clips.loc[clip_id, "path"] = sound(tmp_path / f"{place}.wav")
    predicted = quality(clips)
    predicted[17] += 50
    page = write_report(
        made_study(clips, {"ridge": predicted}),
        tmp_path / "r.html",
        clips=clips,
        audio="embed",
        max_audio_mb=0.0004,
    )
    assert re.findall(r'id="sound-(\d+)"', page.read_text()) == ["17"]
    assert "47 clips have no sound here" in page.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"audio": "stream"}, "unknown audio 'stream'; choose from link, embed, none"),
        ({"max_audio_mb": -1}, "max_audio_mb=-1 must be at least 0"),
        ({"max_audio_mb": np.nan}, "max_audio_mb=nan must be at least 0"),
    ],
)
def test_wrong_options_are_refused(clips, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        write_report(made_study(clips, {"ridge": quality(clips)}), tmp_path / "r.html", **options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("model,score\n", r"study.json holds no study \(JSONDecodeError: Expecting value: line 1"),
        ("[]", "holds no study"),
        ('{"about": {}, "scores": []}', "'predictions'.; give the study.json that musiceval study --out"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, content, words):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        write_report(tmp_path / "study.json", tmp_path / "r.html")


def test_an_empty_study_is_refused(clips, tmp_path):
    study = made_study(clips, {"ridge": quality(clips)})
    empty = replace(study, predictions=study.predictions.iloc[:0])
    with pytest.raises(ClipsTableError, match="holds no predictions"):
        write_report(empty, tmp_path / "r.html")


@pytest.mark.slow
def test_many_clips_stay_under_five_megabytes(tmp_path):
    # As many clips, models and targets as in a study of MusicEval.
    clips = made_clips(
        n_systems=31, n_prompts=89, prompts="a prompt of about the usual length, number {}"
    ).iloc[:2748]
    rng = np.random.default_rng(0)
    predictors = {name: quality(clips) / 10 + rng.normal(0, 1, len(clips)) for name in "abcdef"}
    study = made_study(clips, predictors, targets=("impression", "alignment"), resamples=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        page = write_report(study, tmp_path / "r.html", clips=clips)
    assert page.stat().st_size < 5e6


@pytest.mark.slow
def test_the_same_study_gives_the_same_page(clips, tmp_path):
    study = made_study(clips, {"ridge": quality(clips)[::-1]})
    first, second = (write_report(study, tmp_path / f"{i}.html", clips=clips, audio="none") for i in range(2))
    assert first.read_bytes() == second.read_bytes()
