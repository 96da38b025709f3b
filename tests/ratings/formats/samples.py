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
LSS_PAIRS = """session_test_id,rater,trial_id,stimuli_rating,stimuli,rating_time
musiceval_1a,R01,"1.1: S1_P1",a,S2_P1,9000
musiceval_1a,R01,"1.2: S3_P1",both_bad,S1_P1,9500
musiceval_1a,R01,"1.3: S2_P1",a,S1_P1,9000
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

P808 = """HITId,WorkerId,AssignmentStatus,Input.TP,Input.gold_clips,Answer.q1_url,Answer.q2_url,Answer.q3_url,Answer.q1,Answer.q2,Answer.q3,Answer.audio_n_play_q1
h1,A31AETR,Approved,https://x.y/tp.wav,https://x.y/g.wav,https://x.y/a.wav,https://x.y/tp.wav,https://x.y/b.wav,4,2,5,1
h1,A9QRS,Submitted,https://x.y/tp.wav,https://x.y/g.wav,https://x.y/b.wav,https://x.y/g.wav,https://x.y/a.wav,-3,5,3,1
h2,A9QRS,Rejected,https://x.y/tp.wav,https://x.y/g.wav,https://x.y/b.wav,https://x.y/c.wav,https://x.y/a.wav,1,1,1,1
"""
P835 = """HITId,WorkerId,Answer.Q1_URL,Answer.Q2_URL,Answer.q1_sig,Answer.q1_bak,Answer.q1_ovrl,Answer.q2_sig,Answer.q2_bak,Answer.q2_ovrl
h1,A31AETR,https://x.y/a.wav,https://x.y/b.wav,4,5,3,2,1,1
"""
P808_VOTES = """HITId,workerid,assignment_id,assignmentstatus,file,short_file_name,vote,question_type,condition
h1,A31AETR,s1,Approved,https://x.y/a.wav,a.wav,4,MOS,c1
h1,A9QRS,s2,Approved,https://x.y/a.wav,a.wav,5,MOS,c1
"""
VOICEMOS = """sys64e2f,sys64e2f-utt9c183cd.wav,4,VDP1ovyrBzg8_1,{}_30-39_bZPQE7w4Zl3g_Female_Valid_1_No
sys64e2f,sys64e2f-utt9c183cd.wav,2,VDP1ovyrBzg8_2,{}_20-29_qQ1Zl3gPE7w4_Male_Valid_1_No
sysa0001,sysa0001-utt0000001.wav,5,VDP1ovyrBzg8_3,{}_30-39_bZPQE7w4Zl3g_Female_Valid_1_No
"""
AUDIOBOX = """{"data_path": "/your_path/a.wav", "Production_Quality": [8.0, 5.0], "Content_Enjoyment": [8.0, 6.0]}
{"data_path": "/your_path/b.wav", "Production_Quality": [3.0, 2.0], "Content_Enjoyment": [1.0, 2.0]}
"""
BEAQLE = json.dumps(
    [
        {
            "TestID": "id1",
            "Runtime": 4200,
            "rating": {"Reference": 98, "1": 40},
            "filename": {"Reference": "a/ref.wav", "1": "a/1.wav"},
        },
        {"TestID": "id2"},
    ]
)
BEAQLE_PAIRS = json.dumps(
    [{"TestID": "id1", "PresentationOrder": "A=2, B=1", "Runtime": 900, "Preference": "B"}]
)
GOLISTEN_ACR = """Tags,,pilot,,,
Name,Date,"How old are you?","calm piano rating",Time (s),"drums rating"
Anna,2021-03-01 10:00:00,31,"4",12.5,"5"
Bert,2021-03-02 10:00:00,44,"2",3.5,""
"""
GOLISTEN_MUSHRA = """Tags,,pilot,,
Name,Date,"calm piano rating",,"Comment?"
,,ref.wav,c1.wav,
Anna,2021-03-01 10:00:00,100,35,good
Anna,2021-03-02 10:00:00,90,20,
"""
BATTLE = {
    "uuid": "b1",
    "prompt": {"prompt": "calm piano"},
    "a_audio_url": "https://s.org/1.mp3?token=x",
    "a_metadata": {"system_key": {"system_tag": "musicgen"}},
    "b_audio_url": None,
    "b_metadata": {"system_key": {"system_tag": "riffusion"}},
    "vote": {"preference": "BOTH_BAD", "a_listen_data": []},
    "vote_user": {"salted_ip": "5f0c"},
    "vote_session": {"uuid": "s"},
}
ARENA = "\n".join(map(json.dumps, [BATTLE, BATTLE | {"uuid": "b2", "vote": None}]))
ARENA_SET = json.dumps(
    {
        "battle_uuid": "b1",
        "user_pseudonym": "5f0c",
        "prompt": "calm piano",
        "audio_a": "audio_files/01/1.mp3",
        "system_a": "musicgen",
        "audio_b": "",
        "system_b": "riffusion",
        "preference": "A",
        "date": "2025-07-28T12:00:00-04:00",
    }
)

JSPSYCH = """"rt","stimulus","response","slider_start","trial_type","trial_index","time_elapsed","internal_node_id","subject_id","study_id"
"1200","<p>Welcome</p>","0","","html-button-response","0","1300","0.0-0.0","5f0cab","s"
"4200","sounds/a.wav","80","50","audio-slider-response","1","5600","0.0-1.0","5f0cab","s"
"3100","<audio src='sounds/b.wav'></audio>","35","50","html-slider-response","2","9000","0.0-2.0","5f0cab","s"
"""
JSPSYCH_JSON = json.dumps(
    [
        {
            "trial_type": "audio-slider-response",
            "trial_index": 0,
            "time_elapsed": 9,
            "rt": 4200,
            "stimulus": "a.wav",
            "response": 80,
        },
        {
            "trial_type": "audio-slider-response",
            "trial_index": 1,
            "time_elapsed": 9,
            "rt": None,
            "stimulus": "b.wav",
            "response": None,
        },
    ]
)
PSYCHOPY = """sound_file,trials.thisRepN,trials.thisTrialN,trials.thisN,trials.thisIndex,slider.response,slider.rt,participant,session,date,expName,psychopyVersion,frameRate,
,,,,,,,031,001,2024_Feb_17_1622,pilot,2024.2.1,59.9,
a.wav,0,0,0,1,4.0,2.5,031,001,2024_Feb_17_1622,pilot,2024.2.1,59.9,
b.wav,0,1,1,0,2.0,1.5,031,001,2024_Feb_17_1622,pilot,2024.2.1,59.9,
"""
QUALTRICS = """StartDate,Status,IPAddress,Duration (in seconds),ResponseId,RecipientEmail,LocationLatitude,S1_P1_1,S2_P1_1,Q9_TEXT
Start Date,Response Type,IP Address,Duration (in seconds),Response ID,Recipient Email,Location Latitude,"How good is it?
 - Quality",How good is it? - Quality,Remarks
"{""ImportId"":""startDate"",""timeZone"":""America/Denver""}","{""ImportId"":""status""}","{""ImportId"":""ipAddress""}","{""ImportId"":""duration""}","{""ImportId"":""_recordId""}","{""ImportId"":""recipientEmail""}","{""ImportId"":""locationLatitude""}","{""ImportId"":""QID5_1""}","{""ImportId"":""QID6_1""}","{""ImportId"":""QID9_TEXT""}"
2024-02-17 10:00:00,IP Address,1.2.3.4,300,R_1abc,a@example.org,47.1,4,2,fine
2024-02-17 11:00:00,Survey Preview,1.2.3.4,30,R_2abc,,47.1,1,1,
2024-02-17 12:00:00,IP Address,1.2.3.5,400,R_3abc,b@example.org,47.1,5,,
"""
SOSCI = """CASE\tSERIAL\tREF\tQUESTNNR\tMODE\tSTARTED\tR101_01\tR101_02\tTIME001\tFINISHED
Interview number\tSerial\tReference\tQuestionnaire\tMode\tStarted\tQuality: first\tQuality: second\tTime\tFinished
123\t\t\tbase\tinterview\t2024-02-17 10:00:00\t4\t-9\t20\t1
130\t\t\tbase\tinterview\t2024-02-17 11:00:00\t2\t5\t20\t1
"""

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
    "p808": ("Batch_1.csv", P808, ["R1 a.wav 4", "R1 b.wav 5", "R2 b.wav -3", "R2 a.wav 3"]),
    "p808_votes": ("Batch_1_votes_per_worker.csv", P808_VOTES, ["R1 a.wav 4", "R2 a.wav 5"]),
    "jspsych": ("data.csv", JSPSYCH, ["R1 sounds/a.wav 80", "R1 sounds/b.wav 35"]),
    "jspsych, json": ("data.json", JSPSYCH_JSON, ["R1 a.wav 80"]),
    "psychopy": ("031_pilot.csv", PSYCHOPY, ["031 a.wav 4", "031 b.wav 2"]),
    "qualtrics": ("q.csv", QUALTRICS, ["R_1abc S1_P1 4", "R_1abc S2_P1 2", "R_3abc S1_P1 5"]),
    "sosci": ("rdata.csv", SOSCI, ["123 R101_01 4", "130 R101_01 2", "130 R101_02 5"]),
    "voicemos": (
        "TRAINSET",
        VOICEMOS,
        ["R1 sys64e2f-utt9c183cd.wav 4", "R2 sys64e2f-utt9c183cd.wav 2", "R1 sysa0001-utt0000001.wav 5"],
    ),
    "beaqlejs": ("20140101-1200_anna0.txt", BEAQLE, ["R1 a/ref.wav 98", "R1 a/1.wav 40"]),
    "golisten": ("acr_Test-1.csv", GOLISTEN_ACR, ["R1 calm piano 4", "R1 drums 5", "R2 calm piano 2"]),
    "golisten, mushra": (
        "mushra_Test-1.csv",
        GOLISTEN_MUSHRA,
        ["R1 ref.wav 100", "R1 c1.wav 35", "R1 ref.wav 90", "R1 c1.wav 20"],
    ),
}
# Tables without raters or of several scores, by their columns.
OTHERS = {
    "webmushra, pairs": (
        "lss.csv",
        LSS_PAIRS,
        ["rater", "batch", "clip_a", "clip_b", "preference", "seconds", "position"],
        ["R01 1 S1_P1 S2_P1 a 9 1", "R01 1 S3_P1 S1_P1 both_bad 9.5 2"],
    ),
    "mos_list": (
        "val_mos_list.txt",
        "a.wav,3.5\nb.wav,4.0\n",
        ["clip_id", "impression"],
        ["a.wav 3.5", "b.wav 4"],
    ),
    "mos_list, musiceval": (
        "train_mos_list.txt",
        "S001_P001.wav,4.0,4.2\n",
        ["clip_id", "impression", "alignment"],
        ["S001_P001.wav 4 4.2"],
    ),
    "audiobox": (
        "aes.jsonl",
        AUDIOBOX,
        ["clip_id", "slot", "production_quality", "content_enjoyment"],
        [
            "/your_path/a.wav 0 8 8",
            "/your_path/a.wav 1 5 6",
            "/your_path/b.wav 0 3 1",
            "/your_path/b.wav 1 2 2",
        ],
    ),
    "p808, p835": (
        "Batch_2.csv",
        P835,
        ["rater", "clip_id", "sig", "bak", "ovrl"],
        ["R1 a.wav 4 5 3", "R1 b.wav 2 1 1"],
    ),
    "pairs": (
        "p.csv",
        "rater,Clip A,clip_b,preference,position\nA,x,y,Both bad,1\nB,y,x,A,2\n",
        ["rater", "clip_a", "clip_b", "preference"],
        ["A x y both_bad", "B y x a"],
    ),
    "beaqlejs, pairs": (
        "x.txt",
        BEAQLE_PAIRS,
        ["rater", "clip_a", "clip_b", "preference"],
        ["R1 id1/2 id1/1 b"],
    ),
    "music_arena": (
        "log.jsonl",
        ARENA,
        ["rater", "clip_a", "clip_b", "system_a", "system_b", "preference", "prompt"],
        ["R1 1.mp3 riffusion/b1 musicgen riffusion both_bad calm piano"],
    ),
    "music_arena, set": (
        "b1.json",
        ARENA_SET,
        ["rater", "clip_a", "clip_b", "system_a", "system_b", "preference"],
        ["R1 1.mp3 riffusion/b1 musicgen riffusion a"],
    ),
}
