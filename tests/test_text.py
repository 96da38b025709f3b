"""How results show: a line in a console, all of their text in a notebook."""

import pandas as pd

from musiceval_sk import leakage_report


def test_a_result_shows_its_first_line_in_a_console_and_all_of_it_in_a_notebook():
    clips = pd.DataFrame({"system": ["<A>", "<A>", "B"], "prompt": ["p", "q", "p"]}, index=list("abc"))
    report = leakage_report(clips[:1], clips[1:])
    assert repr(report) == "<LeakageReport: Shared between training and test:>"
    shown = report._repr_html_()
    assert shown.startswith("<pre>Shared") and "1 of 2 in test" in shown
    assert "&lt;A&gt;" in shown and "<A>" not in shown
