from __future__ import annotations

import io
import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from attrs import evolve
from rich.console import Console, RenderableType

from simulator.report import extras, html
from simulator.report.extras import ExtraMissingError
from simulator.report.figures import (
    by_kind,
    duration,
    events,
    invariants,
    left_out,
    quantile,
    rule_of_three,
)
from simulator.report.json_report import run_document, sweep_document
from simulator.report.lanes import Lane, around, lanes, switched_service
from simulator.report.text import RunText, SweepText
from simulator.results import (
    CanaryResult,
    Finding,
    OperationResult,
    Requests,
    RunResult,
    SeedResult,
    Story,
    SweepResult,
    Verdict,
)
from tests.architecture import ROOT
from tests.simulator.sample_results import (
    MAP,
    Storyteller,
    broken,
    calm_world,
    held,
    in_doubt,
    seed_result,
    strong_sweep,
    sweep,
)
from turnout.protocol.clock import MS, SECOND


def empty_run() -> RunResult:
    """A run in which nothing was asked for."""
    whole = calm_world()
    return evolve(whole, name="nothing", switches=(), story=Story(), reached=(), events=0)


def printed(report: RenderableType, width: int = 110) -> str:
    target = io.StringIO()
    Console(file=target, width=width, emoji=False, markup=False).print(report)
    return target.getvalue()


# ------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (None, "-"),
        (0, "0 s"),
        (812_000, "812 us"),
        (3_210_000, "3.21 ms"),
        (412 * MS, "412 ms"),
        (2_310 * MS, "2.31 s"),
        (45_260 * MS, "45.3 s"),
        (600 * SECOND, "600 s"),
    ],
)
def test_duration_has_as_many_digits_as_matter(ns: int | None, words: str) -> None:
    assert duration(ns) == words


def test_quantile_is_one_of_the_values() -> None:
    assert quantile([40, 10, 30, 20], 0.5) == 20
    assert quantile(list(range(1, 1001)), 0.999) == 999
    assert quantile([7], 0.001) == 7
    assert quantile([], 0.5) is None


def test_invariants_stand_in_the_order_of_their_numbers() -> None:
    mixed = (*held()[::-1], Finding(number="expect outcome", verdict=Verdict.VALID))
    numbers = [one.number for one in invariants(mixed)]
    assert numbers == [f"S{n}" for n in range(1, 12)] + ["L1", "L2", "L3"]


def test_results_by_kind_count_a_run_for_each_of_its_kinds() -> None:
    crash = evolve(seed_result(1), fault_kinds=("crash",))
    both = evolve(seed_result(2, verdict=Verdict.INVALID), fault_kinds=("crash", "loss"))
    calm = evolve(seed_result(3), fault_kinds=())
    rows = {one.kind: one for one in by_kind(SweepResult(name="x", runs=(crash, both, calm)))}
    assert list(rows) == ["crash", "loss", "no fault"]
    assert [rows[kind].runs for kind in rows] == [2, 1, 1]
    assert rows["crash"].verdicts[Verdict.INVALID] == 1
    assert rows["no fault"].verdicts[Verdict.INVALID] == 0
    assert sum(rows["loss"].outcomes.values()) == len(both.switches)


def test_sweep_says_what_could_not_be_judged_and_in_how_many_runs() -> None:
    run = calm_world()
    unheard = Finding(number="L1", verdict=Verdict.UNKNOWN)
    assert SeedResult.of(evolve(run, findings=(*run.findings, unheard))).unjudged == ("L1",)
    whole = sweep(range(4))
    assert left_out(whole) == ""
    lost = tuple(evolve(run, unjudged=("S1", "L1")) for run in whole.runs[:3])
    last = evolve(whole.runs[3], unjudged=("L1",))
    assert left_out(evolve(whole, runs=(*lost, last))) == (
        "Not judged, since nothing worked that could keep them: S1 in 3, L1 in 4."
    )


def test_rule_of_three_promises_nothing_where_a_run_was_invalid() -> None:
    assert "one run in 100 " in rule_of_three(sweep(range(300)))
    assert rule_of_three(sweep(range(300), invalid=[3])) == ""
    assert rule_of_three(sweep(range(5))) == ""
    assert "one run in 2 " in rule_of_three(sweep(range(6)))


def test_heal_is_an_event_of_its_own() -> None:
    story = [(event.at_ns // MS, event.who) for event in events(in_doubt())]
    assert story == [
        (5_000, "operator us-east-1"),
        (5_200, "fault"),
        (45_200, "heal"),
        (60_000, "operator us-east-1"),
        (60_150, "fault"),
        (60_450, "heal"),
    ]


# ------------------------------------------------------------------------------------- results


def test_seed_result_keeps_what_a_sweep_needs_and_no_story() -> None:
    kept = SeedResult.of(broken())
    assert kept.violated == ("S7", "expect outcome")
    assert kept.first.startswith("at 5.812 s")
    assert [one.epoch for one in kept.switches] == [2, 3]
    assert all(one.agents == () for one in kept.switches)


def test_sweep_is_as_bad_as_its_worst_run() -> None:
    assert sweep([1, 2]).verdict is Verdict.VALID
    assert sweep([1, 2], invalid=[2]).verdict is Verdict.INVALID
    unknown = SweepResult(name="x", runs=(seed_result(1, verdict=Verdict.UNKNOWN), seed_result(2)))
    assert unknown.verdict is Verdict.UNKNOWN
    assert SweepResult(name="x", runs=()).verdict is Verdict.UNKNOWN


def test_canary_that_breaks_another_invariant_is_not_caught() -> None:
    canary = CanaryResult(name="c", number="S3", seed=4, tried=5, seen=("S1",))
    assert not canary.is_caught
    assert evolve(strong_sweep(), canaries=(canary,)).is_too_weak
    assert not strong_sweep().is_too_weak


# ---------------------------------------------------------------------------------------- json


def test_json_of_a_run_has_the_promised_keys() -> None:
    document = json.loads(json.dumps(run_document(in_doubt())))
    assert set(document) == {
        "name", "verdict", "seed", "budget_s", "trace_digest", "invariants", "expectations", "violations",
        "operations", "switches", "requests", "reached", "never_struck", "events", "wall_s", "simulated_s",
    }  # fmt: skip
    assert set(document["switches"][0]) == {
        "epoch", "kind", "outcome", "accepted_s", "live_s", "elapsed_s", "known_s", "sla_met",
        "skew_ms", "laggards", "reasons", "lower_bound_s",
    }  # fmt: skip
    assert set(document["requests"]) == {"sent", "failed", "misrouted", "cut", "regressed"}
    assert document["invariants"]["S1"] == "valid"
    assert document["simulated_s"] == 120.0
    assert document["switches"][0]["laggards"] == ["ap-northeast-1/1", "ap-northeast-1/2"]


def test_every_key_of_a_run_s_json_is_documented() -> None:
    readme = (ROOT / "simulator" / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| key of the JSON |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    named = {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    assert named == set(run_document(in_doubt()))


def test_json_of_a_broken_run_says_what_broke() -> None:
    document = run_document(broken())
    assert document["verdict"] == "invalid"
    assert document["invariants"]["S7"] == "invalid"
    assert document["expectations"] == {"expect outcome": "invalid"}
    assert "eu-west-1/1" in document["violations"]["S7"][0]


def test_json_of_a_sweep_has_every_run_and_what_it_could_not_find() -> None:
    document = json.loads(json.dumps(sweep_document(sweep(range(50), invalid=[7]))))
    assert (document["verdict"], document["too_weak"]) == ("invalid", True)
    assert document["invalid_seeds"] == [7]
    assert document["missed"] == ["two-takeovers"]
    assert [one["caught"] for one in document["canaries"]] == [True, True, False]
    assert [one["seed"] for one in document["runs"]] == list(range(50))
    assert document["requests"]["sent"] == 50 * 694_444


# ---------------------------------------------------------------------------------------- text


def region_line(text: str, title: str, region: str) -> str:
    drawing = text[text.index(title) :]
    return re.search(rf"^{region} +(.*)$", drawing, re.MULTILINE)[1]  # type: ignore[index]


def test_faults_that_never_struck_are_told_in_every_report() -> None:
    run = evolve(in_doubt(), never_struck=("crash leader, at drain",))
    assert "Never struck: crash leader, at drain." in printed(RunText(run))
    assert run_document(run)["never_struck"] == ["crash leader, at drain"]


def test_operations_of_which_nothing_came_are_told_in_every_report() -> None:
    switch = OperationResult(what="switch x to green", moment="at 5 s", asked_ns=5 * SECOND)
    run = evolve(
        in_doubt(),
        operations=(
            evolve(switch, answer="accepted epoch 2"),
            evolve(switch, asked_ns=7_250 * MS, answer="refused", code="switch-in-progress"),
            switch,
            OperationResult(what="abort", moment="at decision of switch 2", asked_ns=None),
        ),
    )
    text, page = printed(RunText(run)), html.run_page(run)
    assert text.count("ever a") == 2
    assert "Never answered: switch x to green, asked at 5.000 s." in text
    assert "Never asked: abort, at decision of switch 2." in text
    assert "<li>never answered: switch x to green, asked at 5.000 s</li>" in page
    assert run_document(run)["operations"] == [
        {"at_s": 5.0, "what": "switch x to green", "answer": "accepted epoch 2", "code": None},
        {"at_s": 7.25, "what": "switch x to green", "answer": "refused", "code": "switch-in-progress"},
        {"at_s": 5.0, "what": "switch x to green", "answer": "none", "code": None},
        {"at_s": None, "what": "abort", "answer": "none", "code": None},
    ]  # fmt: skip


def test_text_shows_votes_flips_and_the_region_that_stays_behind() -> None:
    text = printed(RunText(in_doubt()))
    near = region_line(text, "Epoch 2", "us-east-1")
    assert re.fullmatch(r"1─+V─+F[2FL]*L?━+", near), near
    tokyo = region_line(text, "Epoch 2", "ap-northeast-1")
    assert re.fullmatch(r"1─+V─+╌+", tokyo), tokyo
    whole = region_line(text, "The whole run", "ap-northeast-1")
    assert re.fullmatch(r"1─+V╌+[F─]*F2━+F3─+", whole), whole


def test_text_says_all_invariants_in_one_line_where_all_held() -> None:
    lines = printed(RunText(calm_world())).splitlines()
    (line,) = [line for line in lines if "S11" in line]
    assert line.startswith("All 14 invariants held: S1 S2 ")


def test_text_of_a_broken_run_has_each_violation_in_full() -> None:
    text = printed(RunText(broken()))
    assert text.startswith("INVALID  tokyo-in-doubt  seed 7")
    assert "S7 invalid\n  at 5.812 s: eu-west-1/1 is good and serves epoch 1" in text
    assert "expect outcome invalid\n  the last switch came to live, not to partial" in text
    assert "13 of 14 invariants held." in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_text_keeps_to_the_width_and_to_what_a_person_can_take_in(width: int) -> None:
    lines = printed(RunText(in_doubt()), width).splitlines()
    assert max(map(len, lines)) <= min(width, 130)


def test_text_of_an_empty_run_says_so() -> None:
    assert "No switch was accepted." in printed(RunText(empty_run()))


def test_text_says_which_requests_were_lost() -> None:
    run = evolve(calm_world(), requests=Requests(sent=1000, failed=2, cut=1))
    assert "1,000 requests: 2 failed, 0 misrouted, 1 cut, 0 regressed." in printed(RunText(run))


def test_text_of_a_sweep_names_seeds_to_replay_and_what_it_is_too_weak_for() -> None:
    text = printed(SweepText(sweep(range(60), invalid=[9])))
    assert text.startswith("INVALID  swarm  60 seeds")
    assert "seed 9: S5  at 91.2 s" in text
    assert "turnout sim replay 9" in text
    assert "Never reached: two-takeovers." in text
    assert "Canary stale-abort was not seen in 1,000 seeds: S2 is blind." in text
    assert printed(SweepText(sweep(range(60)))).startswith("TOO WEAK  swarm")
    strong = printed(SweepText(strong_sweep()))
    assert strong.startswith("VALID  swarm")
    assert "All 2 canaries caught." in strong


# --------------------------------------------------------------------------------------- lanes


def promises_drawn(page: str) -> list[str]:
    """What the lines at the end of the promise are called, in every picture."""
    return re.findall(r"<text [^>]*fill: #c92a2a[^>]*>([0-9][^<x]* s)</text>", page)


def test_reports_of_a_run_show_its_own_promise() -> None:
    run = evolve(in_doubt(), budget_ns=45_500 * MS)
    assert run_document(run)["budget_s"] == 45.5
    text, page = printed(RunText(run), 160), html.run_page(run)
    assert re.search(r"LOWER BOUND +IN 45\.5 S +SKEW", text)
    assert "the promise is 45.5 s" in page
    assert "<th>45.5 s</th>" in page
    assert promises_drawn(page) == ["45.5 s"]


def test_reports_of_a_sweep_show_the_promise_that_its_runs_have_in_common_or_all_of_them() -> None:
    same = sweep(range(20))
    runs = [evolve(one, budget_ns=(30 + one.seed) * SECOND) for one in same.runs]
    apart = evolve(same, runs=tuple(runs))
    assert "switches 0 took longer than 30 s." in printed(SweepText(same))
    assert "switches 0 took longer than its run promises, 30 to 49 s." in printed(SweepText(apart))
    assert promises_drawn(html.sweep_page(same)) == ["30 s"] * 2, "time until over, kinds"
    page = html.sweep_page(apart)
    assert "0 took longer than its run promises, 30 to 49 s" in page
    assert promises_drawn(page) == ["30 to 49 s"] * 2
    told = [one["budget_s"] for one in sweep_document(apart)["runs"]]
    assert told == [30.0 + seed for seed in range(20)]


def test_window_of_a_switch_ends_when_those_in_time_are_live() -> None:
    run = in_doubt()
    window = around(run.switches[0], run)
    last_ns = max(a.live_ns or 0 for a in run.switches[0].agents if a.region != "ap-northeast-1")
    assert last_ns < window.until_ns < last_ns + SECOND
    assert window.since_ns < run.switches[0].accepted_ns


def test_lane_of_an_agent_has_a_band_for_each_table() -> None:
    (tokyo,) = [lane for lane in lanes(in_doubt()) if lane.node == "agent ap-northeast-1/1"]
    assert [(band.epoch, band.colour) for band in tokyo.bands] == [
        (1, "blue"),
        (2, "green"),
        (3, "blue"),
    ]
    assert tokyo.bands[0].until_ns == tokyo.bands[1].since_ns
    assert [shade.kind for shade in tokyo.shades] == ["partition"]
    assert isinstance(tokyo, Lane)
    assert tokyo.is_agent


def test_band_has_the_colour_of_the_service_that_was_switched() -> None:
    assert switched_service(in_doubt()) == "checkout"
    assert switched_service(empty_run()) == ""


# ---------------------------------------------------------------------------------------- html


class Page(HTMLParser):
    """What a browser would fetch, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "path", "use"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag in ("script", "link", "iframe", "img")
        for name, value in attrs:
            if name.rpartition(":")[2] in ("src", "href", "data", "action"):
                self.addresses.append(value or "")
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "br"):
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run_page() -> str:
    return html.run_page(broken())


@pytest.fixture(scope="module")
def sweep_page() -> str:
    return html.sweep_page(sweep(range(40), invalid=[7]))


@pytest.mark.parametrize("name", ["run_page", "sweep_page"])
def test_page_fetches_nothing(name: str, request: pytest.FixtureRequest) -> None:
    text: str = request.getfixturevalue(name)
    page = Page(text)
    assert page.open == []
    assert page.scripts == 0
    assert all(address.startswith("#") for address in page.addresses)
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "http" not in outside
    assert "@import" not in text


def test_page_of_a_run_has_its_pictures_and_what_broke(run_page: str) -> None:
    assert run_page.count("<svg") == 5, "the run, two switches, time until over, skew"
    assert "at 5.812 s: eu-west-1/1 is good" in run_page
    assert "<title>vote: agent eu-west-1/1 to coordinator us-east-1, in " in run_page
    assert "lost</title>" in run_page
    assert (
        "<title>agent ap-northeast-1/1: partition ap-northeast-1 | * for 40 s</title>" in run_page
    )


def test_page_of_a_sweep_has_its_pictures_and_seeds(sweep_page: str) -> None:
    assert sweep_page.count("<svg") == 4, "time until over, against the bound, skew, kinds"
    assert "turnout sim replay 7" in sweep_page
    assert "two-takeovers 0" in sweep_page


def test_sweep_of_a_scenario_names_how_to_run_that_again() -> None:
    swept = evolve(sweep(range(10), invalid=[7]), name="mine", scenario="my regions.toml")
    again = "turnout sim run 'my regions.toml' --seed 7"
    assert again in printed(SweepText(swept))
    assert again in unescape(html.sweep_page(swept))


def test_page_is_the_same_each_time(run_page: str) -> None:
    assert html.run_page(broken()) == run_page


def test_page_shows_markup_in_a_name_as_text() -> None:
    page = html.run_page(evolve(empty_run(), name="<script>alert(1)</script>"))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_page_of_a_large_fleet_shows_one_of_each_region_and_counts_the_rest() -> None:
    teller = Storyteller(regions=MAP.regions, per_region=12)
    teller.boot(1, "blue")
    teller.switch(2, 5 * SECOND, "green")
    page = html.run_page(teller.result("large"))
    assert "191 processes are left out." in page, "235 in all, and 44 lanes"
    assert "The 200 slowest of 228 agents" in page
    asked = {name for name in MAP.regions if f"to agent {name}/1, in" in page}
    assert asked == set(MAP.regions)


def test_page_of_a_sweep_without_a_switch_is_made() -> None:
    lonely = evolve(seed_result(1), switches=(), fault_kinds=())
    assert Page(html.sweep_page(SweepResult(name="x", runs=(lonely,)))).open == []
    assert Page(html.sweep_page(SweepResult(name="x", runs=()))).open == []


def test_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "matplotlib" else name)
    with pytest.raises(ExtraMissingError) as caught:
        html.check_packages()
    assert "needs matplotlib" in str(caught.value)
    assert "pip install 'turnout[sim]'" in str(caught.value)
