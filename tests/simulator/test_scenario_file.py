from __future__ import annotations

from pathlib import Path

import pytest

from simulator.fault_kinds import FaultKind, HerdFault, LinkFault, NodeFault
from simulator.moments import Point, ReachPoint
from simulator.operations import Do, SwitchOperation
from simulator.population import LEADER, Selector, select
from simulator.scenario import Scenario, TimingSection
from simulator.scenario_file import load_scenario, parse_scenario, to_toml
from turnout.protocol.limits import Timing
from turnout.protocol.routing import Colour
from turnout.protocol.timing_settings import TimingSettings
from turnout.runtime.config import ConfigError

HEAD = """\
name = "tokyo-in-doubt"
seed = 7
[topology]
matrix = "aws-19"
regions = ["us-east-1", "eu-west-1", "ap-northeast-1"]
agents_per_region = 2
coordinators = ["us-east-1", "us-east-2", "ca-central-1"]
etcd = ["us-east-1", "us-east-2", "ca-central-1"]
"""
SWITCH = """
[[operation]]
at_s = 5.0
do = "switch"
service = "checkout"
to = "green"
"""
PARTITION = """
[[fault]]
when = "vote:ap-northeast-1"
kind = "partition"
between = [["ap-northeast-1"], ["*"]]
for_s = 40.0
"""


def read(text: str) -> Scenario:
    return parse_scenario(text.encode(), source="s.toml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value)


def test_scenario_of_the_issue_is_read_whole() -> None:
    scenario = read(HEAD + SWITCH + PARTITION + '[expect]\nlaggards = ["ap-northeast-1/2"]\n')
    (switch,) = scenario.operations
    assert isinstance(switch, SwitchOperation)
    assert (switch.do, switch.to, switch.at_ns) == (Do.SWITCH, Colour.GREEN, 5_000_000_000)
    (fault,) = scenario.faults
    assert isinstance(fault, LinkFault)
    assert fault.when == ReachPoint(Point.VOTE, Selector("ap-northeast-1"))
    assert fault.between == (("ap-northeast-1",), ("*",))
    assert fault.text == "partition ap-northeast-1 | * for 40 s"
    assert fault.lasts_ns == 40_000_000_000
    assert scenario.expect.laggards == ("ap-northeast-1/2",)


def test_processes_are_named_after_what_and_where_they_are() -> None:
    text = HEAD.replace('etcd = ["us-east-1", "us-east-2"', 'etcd = ["us-east-1", "us-east-1"')
    names = [node.name for node in read(text).topology.nodes(())]
    assert names[:2] == ["agent us-east-1/1", "agent us-east-1/2"]
    assert names[6:] == [
        "coordinator us-east-1",
        "coordinator us-east-2",
        "coordinator ca-central-1",
        "etcd us-east-1/1",
        "etcd us-east-1/2",
        "etcd ca-central-1",
        "operator us-east-1",
    ]


def test_selector_of_a_role_means_whoever_has_it_then() -> None:
    nodes = read(HEAD).topology.nodes(())
    third = nodes[8].name
    assert select([LEADER], nodes, {LEADER: [third]}) == (third,)
    assert select([LEADER], nodes, {}) == ()
    assert len(select([LEADER], nodes)) == 3


def test_one_selector_may_stand_without_a_list() -> None:
    scenario = read(HEAD + SWITCH + '[[fault]]\nat_s = 1\nkind = "crash"\nnode = "leader"\n')
    (fault,) = scenario.faults
    assert isinstance(fault, NodeFault)
    assert fault.node == ("leader",)
    assert fault.lasts_ns is None


def test_default_of_a_selector_is_its_list() -> None:
    scenario = read(HEAD + '[[fault]]\nat_s = 1\nkind = "herd"\nhandshakes = 10000\n')
    (fault,) = scenario.faults
    assert isinstance(fault, HerdFault)
    assert fault.text == "herd leader handshakes 10000"


def test_timing_has_the_defaults_of_a_coordinator() -> None:
    assert TimingSection().timing() == TimingSettings().timing() == Timing()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "s.toml: it is empty: not one key is set"),
        ('name = "x"', "topology is missing: it must be a table"),
        (HEAD.replace("seed = 7", 'seed = "7"'), 'seed must be a whole number, not "7"'),
        (HEAD.replace("seed = 7", "sede = 7"), 'sede is not a known key (did you mean "seed"?)'),
        (HEAD.replace('"tokyo-in-doubt"', '" "'), "name must not be blank"),
        (HEAD.replace("aws-19", "aws-20"), "topology.matrix cannot be used"),
        (HEAD.replace("aws-19", "there-is-none.csv"), "there-is-none.csv cannot be read"),
        (
            HEAD.replace('"eu-west-1"', '"eu-west-9"'),
            "topology.regions names eu-west-9, which aws-19 has not; there are",
        ),
        (
            HEAD.replace('etcd = ["us-east-1"', 'etcd = ["mars"'),
            "topology.etcd names mars, which aws-19 has not; there are",
        ),
        (
            HEAD.replace('"eu-west-1"', '"us-east-1"'),
            "topology.regions names us-east-1 more than once",
        ),
        (HEAD.replace("regions = [", "regions = [] #"), "topology.regions is empty"),
        (
            HEAD.replace("= 2\n", "= 0\n"),
            "topology.agents_per_region must be from 1 to 10000, not 0",
        ),
        (HEAD.replace("etcd = [", "etcd = [] #"), "topology.etcd must name 1 to 5, not 0"),
        (HEAD + "[network]\nloss = nan\n", "network.loss must be a finite number, not nan"),
        (HEAD + "[network]\nloss = 1.5\n", "network.loss must be from 0 to 1, not 1.5"),
        (HEAD + "[clocks]\nbound_ms = -1\n", "clocks.bound_ms must be from 0"),
        (HEAD + "[timing]\nlease_ttl_s = 9\n", "is above the budget of 30 s"),
        (HEAD + "[[operation]]\nat_s = 1\n", "operation[0].do is missing: it must be one of"),
        (
            HEAD + SWITCH.replace('"switch"', '"swich"'),
            'not "swich" (did you mean "switch"?)',
        ),
        (
            HEAD + SWITCH.replace("to =", "too ="),
            "operation[0].to is missing: it must be one of",
        ),
        (
            HEAD + SWITCH.replace('"checkout"', '"chekout"'),
            "operation[0].service chekout is not in topology.services; there are checkout (did you mean",
        ),
        (
            HEAD + SWITCH.replace("at_s = 5.0", "at_s = 500"),
            "operation[0].at_s is after the run's end: duration_s is 120",
        ),
        (
            HEAD + SWITCH.replace("at_s = 5.0", ""),
            "operation[0].when and at_s: exactly one of the two",
        ),
        (HEAD + SWITCH + "after_ms = 3.0\n", "operation[0].after_ms needs when"),
        (
            HEAD + SWITCH + 'through = "etcd us-east-1"\n',
            "operation[0].through touches nothing: etcd us-east-1 is none of coordinator",
        ),
        (
            HEAD + '[[operation]]\nat_s = 1\ndo = "exclude"\nregion = "sa-east-1"\n',
            "operation[0].region has no agents; there are us-east-1, eu-west-1, ap-northeast-1",
        ),
        (
            HEAD + SWITCH + PARTITION.replace('"partition"', '"partitoin"'),
            'not "partitoin" (did you mean "partition"?)',
        ),
        (
            HEAD + SWITCH + PARTITION + "share = 0.5\n",
            "fault[0].share is not a known key; allowed here: at_s, when, after_ms, switch, kind",
        ),
        (
            HEAD + SWITCH + PARTITION.replace('[["ap-northeast-1"], ["*"]]', '[["*"]]'),
            "fault[0].between must be two groups",
        ),
        (
            HEAD + SWITCH + PARTITION.replace('[["ap', '[["ep'),
            "fault[0].between touches nothing: there is no ep-northeast-1; there are leader,",
        ),
        (
            HEAD + SWITCH + PARTITION.replace("vote:ap", "votes:ap"),
            "fault[0].when must be a reach point (prepare, accept-write, vote,",
        ),
        (
            HEAD + SWITCH + PARTITION.replace("vote:ap-northeast-1", "vote:coordinator us-east-1"),
            "fault[0].when touches nothing: coordinator us-east-1 is none of agent",
        ),
        (HEAD + PARTITION, "fault[0].when is never reached: no operation begins a switch"),
        (HEAD + SWITCH + PARTITION + PARTITION, "fault[1] is fault[0] once more"),
        (
            HEAD + SWITCH + '[[fault]]\nat_s = 1\nkind = "disk-full"\nnode = []\n',
            "fault[0].node is empty: name at least one process",
        ),
        (
            HEAD + SWITCH + '[[fault]]\nat_s = 1\nkind = "disk-full"\nnode = "leader"\n',
            "fault[0].node touches nothing: leader is none of agent",
        ),
        (
            HEAD + SWITCH + '[[fault]]\nat_s = 1\nkind = "restart"\nnode = "leader"\nfor_s = 3\n',
            "fault[0].for_s is not a known key",
        ),
        (
            HEAD + SWITCH + '[expect]\nlaggards = ["ap-northeast-1/3"]\n',
            "expect.laggards names ap-northeast-1/3, which is no agent; there are us-east-1/1",
        ),
        (
            HEAD + '[core]\nat_s = 200.0\nnode = ["*"]\n',
            "core.at_s is after the run's end: duration_s is 120",
        ),
        (
            HEAD + '[core]\nat_s = 20.0\nnode = ["operator us-east-1"]\n',
            "core.node touches nothing: operator us-east-1 is none of agent, coordinator, etcd",
        ),
        (
            HEAD + '[core]\nat_s = 20.0\nnode = ["coordinator us-east-1", "etcd us-east-1"]\n',
            "core.node is no core: it takes a majority of etcd's members",
        ),
        (
            HEAD + '[core]\nat_s = 20.0\nnode = ["etcd us-east-1", "etcd us-east-2"]\n',
            "core.node is no core: it takes a coordinator",
        ),
        (HEAD + '[expect]\nbecause = "absent"\n', "expect.because is expected of a switch"),
        (HEAD + '[expect]\noutcome = "live"\n', "expect.outcome is expected of a switch"),
        (
            HEAD + '[[operation]]\nat_s = 9\ndo = "abort"\n[expect]\noutcome = "aborted"\n',
            "expect.outcome is expected of a switch, and no operation begins one",
        ),
        (
            HEAD + SWITCH + '[expect]\nrefused = "stale-agent"\n',
            "expect.refused names stale-agent, which is no problem; there are",
        ),
        (HEAD + SWITCH + '[expect]\nrefused = "stale-agent"\n', "(did you mean stale-agents?)"),
        (
            HEAD + SWITCH + '[expect]\nrefused = "no-leader"\n',
            "expect.refused is never no-leader: then operators ask again",
        ),
        (
            HEAD + SWITCH + '[expect]\nverdict = "unknown"\n',
            'expect.verdict must be one of "valid", "invalid", not "unknown"',
        ),
        (
            HEAD + SWITCH + '[expect]\nverdict = "invalid"\n',
            'expect.violated is missing: verdict = "invalid" needs the numbers',
        ),
    ],
)
def test_bad_input_is_refused_with_its_key(text: str, said: str) -> None:
    assert said in refusal(text)


def test_all_that_is_wrong_is_said_at_once() -> None:
    text = HEAD + SWITCH.replace("checkout", "basket") + PARTITION.replace('["*"]', '["mars"]')
    said = refusal(text)
    assert "s.toml: 2 faults:" in said
    assert "operation[0].service basket" in said
    assert "fault[0].between touches nothing: there is no mars" in said


def test_matrix_of_a_user_is_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    rows = "from,to,rtt_ms\neu,us,80\nus,eu,81\n"
    (tmp_path / "mine.csv").write_text(rows, encoding="utf-8")
    path = tmp_path / "s.toml"
    path.write_text(
        'name = "mine"\n[topology]\nmatrix = "mine.csv"\ncoordinators = ["eu"]\netcd = ["us"]\n',
        encoding="utf-8",
    )
    assert load_scenario(path).topology.matrix == str(tmp_path / "mine.csv")


def test_kinds_have_each_their_rule() -> None:
    from simulator.fault_kinds import KINDS  # noqa: PLC0415
    from simulator.operations import DOINGS  # noqa: PLC0415

    assert list(KINDS) == list(FaultKind)
    assert list(DOINGS) == list(Do)


def test_written_scenario_is_read_as_the_same() -> None:
    scenario = read(HEAD + SWITCH + PARTITION + "[network]\nloss = 0.01\n[expect]\nlaggards = []\n")
    text = to_toml(scenario)
    assert read(text) == scenario
    assert text.count("[[fault]]") == 1
    assert "duration_s" not in text, "what has its default is left out"
