"""Asking ahead: the answers are those that asking one by one would give."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from seedkeep.ahead import asked_ahead


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    before = threading.active_count(), sys.getswitchinterval()
    yield
    assert (threading.active_count(), sys.getswitchinterval()) == before


class Asked(list[int]):
    """The questions that were asked, by their numbers."""

    def __call__(self, number: int) -> int:
        self.append(number)
        return 6 // (3 - number)

    def questions(self, count: int) -> list[partial[int]]:
        return [partial(self, number) for number in range(count)]


def test_answers_come_in_the_order_of_the_questions() -> None:
    with asked_ahead([partial(pow, n, 2) for n in range(100)]) as answers:
        assert list(answers) == [n * n for n in range(100)]


def test_no_questions_have_no_answers() -> None:
    with asked_ahead([]) as answers:
        assert list(answers) == []


def test_the_next_question_is_asked_while_an_answer_is_worked_on() -> None:
    next_one = threading.Event()
    questions: list[Callable[[], object]] = [partial(pow, 2, 3), next_one.set]
    with asked_ahead(questions) as answers:
        assert next(answers) == 8
        assert next_one.wait(10)


def test_only_a_few_answers_wait() -> None:
    asked, fourth = Asked(), threading.Event()
    questions: list[Callable[[], object]] = [
        partial(asked, 0),
        partial(asked, 0),
        partial(asked, 0),
        fourth.set,
    ]
    with asked_ahead(questions) as answers:
        assert not fourth.wait(0.2)
        next(answers)
        assert fourth.wait(10)


def test_what_a_question_raises_comes_in_place_of_its_answer_and_none_is_asked_after() -> None:
    asked, got = Asked(), []

    def take_all() -> None:
        with asked_ahead(asked.questions(9)) as answers:
            for answer in answers:
                got.append(answer)

    with pytest.raises(ZeroDivisionError):
        take_all()
    assert (asked, got) == ([0, 1, 2, 3], [2, 3, 6])


def test_who_leaves_early_leaves_no_question_behind() -> None:
    asked = Asked()

    def take_one() -> None:
        with asked_ahead(asked.questions(3)) as answers:
            next(answers)
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        take_one()
    assert set(asked) <= {0, 1, 2}


def test_ctrl_c_ends_waiting_for_an_answer() -> None:
    waiting, answer_may_come = threading.Event(), threading.Event()

    def slow() -> bool:
        waiting.wait(10)
        os.kill(os.getpid(), signal.SIGINT)
        return answer_may_come.wait(10)

    def take() -> None:
        with asked_ahead([slow]) as answers:
            waiting.set()
            try:
                next(answers)
            finally:
                answer_may_come.set()

    with ctrl_c(), pytest.raises(KeyboardInterrupt):
        take()


def test_ctrl_c_before_the_first_answer_leaves_nothing_behind() -> None:
    def pressed() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    for _ in range(20):  # it may come while the thread starts, or after
        with ctrl_c(), pytest.raises(KeyboardInterrupt), asked_ahead([pressed]) as answers:
            next(answers)


@contextmanager
def ctrl_c() -> Iterator[None]:
    """As in a program that a terminal has started."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, kept)
