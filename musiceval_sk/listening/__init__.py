"""The listening test itself: who rates what, the page that raters see, and what becomes of their answers."""

from musiceval_sk.listening.design import ListeningTest, design_test, load_test
from musiceval_sk.listening.export import read_answers
from musiceval_sk.listening.page.build import build_page
from musiceval_sk.listening.server import serve_page
from musiceval_sk.listening.webmushra import build_webmushra

__all__ = [
    "ListeningTest",
    "build_page",
    "build_webmushra",
    "design_test",
    "load_test",
    "read_answers",
    "serve_page",
]
