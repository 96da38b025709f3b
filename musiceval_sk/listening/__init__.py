"""The listening test itself: who rates what, the page that raters see, and what becomes of their answers."""

from musiceval_sk.listening.design import ListeningTest, design_test, load_test

__all__ = ["ListeningTest", "design_test", "load_test"]
