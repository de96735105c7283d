"""The printed tables lose no digit, whatever the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mapopt.evaluation.numbers import duration, short
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.comparison.stored_run import Cost
from mapopt.experiments.reporting.report import summarize
from mapopt.experiments.reporting.terminal import print_summary


def _printed(summary, *, width: int = 120, color: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=color, color_system="standard" if color else None)
    print_summary(summary, console)
    return console.file.getvalue()


@pytest.fixture
def runs(make):
    training = Cost(images=20_480_000, seconds=9000.0, runs=1000)
    runs = []
    for seed, ap in enumerate((0.30, 0.34, 0.31, 0.37, 0.35)):
        runs.append(make.run("baseline", seed, ap))
        runs.append(make.run("agent", seed, ap + 0.05, training=training, label="an agent" + " a" * 30))
        status = "diverged" if seed == 1 else "finished"
        runs.append(make.run("constant", seed, ap - 0.1, status=status, label="four and twenty letters."))
    return runs


def test_the_widest_tables_fit_into_140_columns(runs):
    text = _printed(summarize(runs, reference="baseline", objects={"shapes": (9, 2, 4)}))
    tables = text.split("The test split")[0]
    assert 120 < max(map(len, tables.splitlines())) <= 140
    assert "…" not in text
    assert "four and twenty letters." in text


@pytest.mark.parametrize("width", [20, 80, 200])
def test_no_number_is_lost_in_a_terminal_of_another_width(runs, width):
    summary = summarize(runs, reference="baseline", objects={"shapes": (9, 2, 4)})

    def rows(text):
        return [
            line.rstrip()
            for line in text.splitlines()
            if line[:1].isalpha() and line.rstrip().endswith(("]", "s", "h"))
        ]

    wide, narrow = _printed(summary), _printed(summary, width=width)
    for line in ("AP [95%]", ".333 [", "+.050 [+.050, +.050]", "20,480,000", "2.5 h"):
        assert line in wide
        assert line in narrow
    assert rows(wide)[:2] == rows(narrow)[:2]


def test_what_everything_cost_is_on_the_screen(runs):
    text = _printed(summarize(runs, reference="baseline"))
    agent = next(line for line in text.split("shapes: cost")[1].splitlines() if line.startswith("an agent"))
    for number in ("400", "130", "10 s", "–", "12", "4,800", "2 min", "20,480,000", "2.5 h"):
        assert number in agent


def test_the_rarest_categorys_ap_has_its_interval_and_a_color_where_it_differs(make):
    runs = [make.run("baseline", seed, 0.3 + 0.01 * (seed % 2)) for seed in range(6)]
    runs += [make.run("better", seed, 0.4 + 0.01 * (seed % 2)) for seed in range(6)]
    summary = summarize(runs, reference="baseline", objects={"shapes": (9, 2, 4)})
    line = next(line for line in _printed(summary, color=True).splitlines() if line.startswith("better"))
    assert line.count("\x1b[32m") == 2, "the rarest category's AP and the difference in AP"
    rarest = summary.tasks[0].methods[0].rarest
    assert f"{short(rarest.value)} [{short(rarest.low)}, {short(rarest.high)}]" in line
    text = _printed(summary)
    assert "AP of green" in text
    assert "The rarest category has the fewest training objects" in text
    undefined = summarize(runs, reference="baseline", objects={"shapes": (9, 4, 2)})
    assert "−1.000" not in _printed(undefined)


def test_a_steps_time_is_on_the_screen(make, tmp_path):
    store = Store(tmp_path)
    store.write(make.run(), make.rounds(4))
    text = _printed(summarize(store.runs("demo")))
    assert "100.0 ms" in text
    assert "a step's is the median over all rounds of all runs" in " ".join(text.split())


def test_diverged_runs_are_on_the_screen(runs):
    text = _printed(summarize(runs))
    assert "verged" in text
    assert "A diverged run counts as AP 0" in text
    assert "No run diverged." not in text
    text = _printed(summarize([run for run in runs if run.method != "constant"]))
    assert "verged" not in text.split("The test split")[0]
    assert "No run diverged." in text


def test_the_legend_says_what_the_interval_is_what_the_gap_is_and_how_often_test_was_read(runs):
    text = " ".join(_printed(summarize(runs, reference="baseline")).split())
    assert "The test split is read once a run" in text
    assert "95% bootstrap interval" in text
    assert "gap: val AP − test AP of the same weights" in text
    assert "on cpu; a step's is" in text


def test_few_runs_are_called_few(make):
    few = _printed(summarize([make.run(seed=seed) for seed in range(3)]))
    many = _printed(summarize([make.run(seed=seed) for seed in range(5)]))
    assert "Fewer than 5 runs show little" in few
    assert "Fewer" not in many


def test_a_single_seed_prints_dashes_for_its_interval(make):
    assert ".300 [–, –]" in _printed(summarize([make.run()]))


def test_only_a_difference_whose_interval_excludes_zero_is_colored(make):
    runs = [make.run("baseline", seed, 0.3 + 0.01 * (seed % 2)) for seed in range(6)]
    runs += [make.run("better", seed, 0.4) for seed in range(6)]
    runs += [make.run("worse", seed, 0.1) for seed in range(6)]
    runs += [make.run("alike", seed, 0.308 + 0.02 * (seed % 3 - 1)) for seed in range(6)]
    summary = summarize(runs, reference="baseline")
    alike = next(method for method in summary.tasks[0].methods if method.method == "alike").versus.difference
    assert alike.low < 0 < alike.value
    lines = _printed(summary, color=True).splitlines()

    def colors(method):
        line = next(line for line in lines if line.startswith(method))
        return ("\x1b[32m" in line, "\x1b[31m" in line)

    assert colors("better") == (True, False)
    assert colors("worse") == (False, True)
    assert colors("alike") == (False, False)


def test_without_a_reference_nothing_is_compared(runs):
    text = _printed(summarize(runs))
    assert "vs " not in text
    assert "P(better)" not in text


def test_seeds_without_a_pair_are_said_to_have_none(make):
    runs = [make.run("baseline", seed) for seed in (0, 1)] + [make.run("agent", seed, 0.4) for seed in (5, 6)]
    assert "no common seed" in _printed(summarize(runs, reference="baseline"))


def test_all_tasks_together_come_last(make, runs):
    other = [make.run("baseline", seed, 0.6, task="cells") for seed in range(5)]
    text = _printed(summarize(runs + other, reference="baseline"))
    assert text.index("cells: results") < text.index("shapes: cost") < text.index("all 2 tasks together")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, ".000"), (-0.0001, ".000"), (-0.25, "−.250"), (1.0, "1.000"), (float("nan"), "–")]
)
def test_a_fraction_is_printed_without_its_zero(value, text):
    assert short(value) == text


def test_signed_fractions_line_up():
    assert [short(value, signed=True) for value in (0.1, -0.1, 0.0)] == ["+.100", "−.100", " .000"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.7, "60 s"), (119, "119 s"), (121, "2 min"), (9e4, "25.0 h")]
)
def test_a_duration_has_the_unit_that_reads_best(seconds, text):
    assert duration(seconds) == text
