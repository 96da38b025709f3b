"""Files as each program writes them, made up by hand after its code, and the ratings that they hold."""

import json

MUSHRA = r"""session_test_id,email,age,session_uuid,trial_id,rating_stimulus,rating_score,rating_time,rating_comment
pilot,anna@example.org,31,u-1,item1,C1,80,12345,"said \"fine\", twice"
pilot,anna@example.org,31,u-1,item1,reference,100,12345,
pilot,anna@example.org,31,u-1,item2,C1,20,8000,""
session_test_id,age,email,session_uuid,trial_id,rating_stimulus,rating_score,rating_time,rating_comment
pilot,44,bert@example.org,u-2,item1,C1,60,5000,
"""
MUSHRA_OLD = """session_test_id,email,trial_id,rating_stimulus,rating_score,rating_time,rating_comment
pilot,anna@example.org,item1,C1,80,1000,
pilot,anna@example.org,item2,C1,20,1000,
pilot,bert@example.org,item1,C1,60,1000,
"""
LSS = """session_test_id,email,trial_id,stimuli_rating1,stimuli_rating2,stimuli,rating_time
pilot,a@example.org,page1,4,5,S1_P1,1000
pilot,a@example.org,page2,2,1,S2_P1,2000
"""
LMS = """session_test_id,email,trial_id,stimuli_rating,stimuli,rating_time
pilot,a@example.org,page1," 4 ",S1_P1,1000
pilot,a@example.org,page2," 2 ",S2_P1,2000
"""
BS1116 = """session_test_id,email,trial_id,rating_reference,rating_non_reference,rating_reference_score,rating_non_reference_score,rating_time,choice_comment
pilot,a@example.org,item1,ref,C1,5,3.5,1000,
pilot,a@example.org,item2,ref,C1,4.8,2,1000,
"""
AUDIOCRAFT = json.dumps(
    {
        "results": [
            {"id": "p1", "is_prompted": False, "models": {"9521b0af": 4, "b3f6f2": 2}},
            {"id": "p2", "is_prompted": False, "models": {"9521b0af": 5}},
        ],
        "seed": 4321,
        "user": "jade",
        "blind": True,
        "exclude_prompted": False,
        "exclude_unprompted": False,
    }
)
BT500 = "5.0,nan,3.0\n1.0,2.0,4.0\n,\nnan,4.0,nan\n2.0,nan,nan\n"
_SUREAL = {
    "dataset_name": "pilot",
    "yuv_fmt": "yuv420p",
    "ref_videos": [{"content_id": 0, "content_name": "calm", "path": "foo.png"}],
}
SUREAL_LISTS = json.dumps(
    _SUREAL
    | {
        "dis_videos": [
            {"asset_id": 0, "content_id": 0, "os": [[3, 2], 4], "path": "a.wav"},
            {"asset_id": 1, "content_id": 0, "os": [float("nan"), [1]], "path": "b.wav"},
        ]
    }
)
SUREAL_NAMES = json.dumps(
    _SUREAL
    | {
        "dis_videos": [
            {"asset_id": 0, "content_id": 0, "os": {"Tom": [3, 2], "Jerry": 4}, "path": "a.wav"},
            {"asset_id": 1, "content_id": 0, "os": {"Jerry": 1}, "path": "b.wav"},
        ]
    }
)

# Name of the format: file, its text, and the lines of the table that is read, without the columns that are told apart.
SAMPLES = {
    "webmushra": (
        "mushra.csv",
        MUSHRA,
        ["u-1 item1/C1 80", "u-1 item1/reference 100", "u-1 item2/C1 20", "u-2 item1/C1 60"],
    ),
    "webmushra, no uuid": (
        "mushra.csv",
        MUSHRA_OLD,
        ["R1 item1/C1 80", "R1 item2/C1 20", "R2 item1/C1 60"],
    ),
    "webmushra, lms": ("lms.csv", LMS, ["R1 S1_P1 4", "R1 S2_P1 2"]),
    "webmushra, bs1116": (
        "bs1116.csv",
        BS1116,
        ["R1 item1/ref 5", "R1 item1/C1 3.5", "R1 item2/ref 4.8", "R1 item2/C1 2"],
    ),
    "audiocraft": ("jade_4321.json", AUDIOCRAFT, ["R1 9521b0af/p1 4", "R1 b3f6f2/p1 2", "R1 9521b0af/p2 5"]),
    "matrix": ("bt500.csv", BT500, ["R1 1 5", "R3 1 3", "R1 2 1", "R2 2 2", "R3 2 4", "R2 1 4", "R1 2 2"]),
    "sureal": ("set.json", SUREAL_LISTS, ["R1 a.wav 3", "R1 a.wav 2", "R2 a.wav 4", "R2 b.wav 1"]),
    "sureal, names": (
        "set.json",
        SUREAL_NAMES,
        ["Tom a.wav 3", "Tom a.wav 2", "Jerry a.wav 4", "Jerry b.wav 1"],
    ),
    "wide": (
        "w.csv",
        "clip_id;rater 1;rater 2\na;3,5;4\nb;;2\n",
        ["rater 1 a 3.5", "rater 2 a 4", "rater 2 b 2"],
    ),
    "wide, clips": (
        "w.csv",
        "subject,S1_P1,S2_P1\ns1,3,4\ns2,,2\n",
        ["s1 S1_P1 3", "s1 S2_P1 4", "s2 S2_P1 2"],
    ),
    "long": ("r.csv", "rater,clip_id,impression\nA,x,3\nB,x,4\n", ["A x 3", "B x 4"]),
    "long, other names": ("r.tsv", "Listener\tfile\timpression\nA\tx.wav\t3\n", ["A x.wav 3"]),
}
