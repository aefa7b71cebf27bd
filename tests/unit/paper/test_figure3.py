"""Figure 3 from audits whose every rate is known."""

import dataclasses
import json

import numpy as np
import pytest

from fleet.errors import AuditError
from fleet.paper.figure3 import summarise
from fleet.paper.figure3_result import Figure3, Lengths, Range
from unit.paper import figure3_samples as samples
from unit.paper.figure3_samples import GRID, SHARES, audit


def find(items, **wanted):
    (found,) = [item for item in items if all(getattr(item, key) == v for key, v in wanted.items())]
    return found


def cell(sweep, surrogate, victim):
    return find(sweep.cells, surrogate=Lengths(*surrogate), victim=Lengths(*victim))


def same(i, j):
    return GRID[i] == GRID[j]


def equivalent(i, j):
    return not same(i, j) and SHARES[i] == SHARES[j]


@pytest.fixture(scope="module")
def plain():
    """Transfer .3 between seeds of one encoding, .2 between encodings; .9 against itself."""
    return summarise(
        audit(
            lambda i, j: 0.9 if i == j else 0.3 if same(i, j) else 0.2,
            reject=lambda i, j: 0.05,
            noise=lambda j: 0.01 * GRID[j][0],
        ),
        title="plain",
    )


def test_the_two_sweeps_hold_the_encodings_of_the_paper_in_order(plain):
    beta, alpha = plain.sweeps
    assert (beta.fixed, beta.value) == ("beta", 16)
    assert [level.lengths.alpha for level in beta.levels] == [1, 4, 16]
    assert (alpha.fixed, alpha.value) == ("alpha", 4)
    assert [level.lengths.beta for level in alpha.levels] == [1, 4, 16, 64]


def test_a_cell_is_the_mean_over_pairs_of_different_networks(plain):
    beta = find(plain.sweeps, fixed="beta")
    own = cell(beta, (4, 16), (4, 16)).rates
    assert own.flip.count == 12
    assert own.flip.mean == pytest.approx(0.3)  # not .9: no network stands against itself
    assert own.evade.high == pytest.approx(0.35)
    other = cell(beta, (1, 16), (4, 16)).rates
    assert (other.flip.count, other.flip.mean) == (8, pytest.approx(0.2))


def test_white_box_noise_and_clean_accuracy_stand_apart(plain):
    level = find(plain.sweeps, fixed="beta").levels[2]
    assert level.white_box.flip == Range(2, 0.9, 0.9, 0.9)
    assert level.noise.evade.mean == pytest.approx(0.16)
    assert level.clean.mean == 1
    assert plain.networks[0].accuracy == 1


def test_rows_are_surrogates_and_columns_victims():
    result = summarise(audit(lambda i, j: 0.01 * i + 0.001 * j), title="t")
    rates = cell(result.sweeps[0], (1, 16), (16, 16)).rates.flip
    assert (rates.low, rates.high) == (pytest.approx(0.006), pytest.approx(0.017))


def test_the_papers_protocol_shows_pgd_as_the_paper_says():
    both = audit(lambda i, j: 0.4, protocols=("paper", "adaptive"), attacks=("worst", "pgd"))
    result = summarise(both, title="t")
    shown = {s.protocol: (s.attack, s.cells[0].rates.flip.mean) for s in result.sweeps}
    assert shown == {"adaptive": ("worst", 0.4), "paper": ("pgd", 0.2)}
    alone = summarise(audit(lambda i, j: 0.4, protocols=("paper",)), title="t")
    assert {sweep.attack for sweep in alone.sweeps} == {"worst"}


def test_networks_and_pairs_are_counted(plain):
    counts = {group.relation: group.rates.flip.count for group in plain.groups}
    assert counts == {"same": 22, "equivalent": 16, "different": 144}
    assert sum(counts.values()) == 14 * 13
    means = {group.relation: group.rates.flip.mean for group in plain.groups}
    assert means == {
        "same": pytest.approx(0.3),
        "equivalent": pytest.approx(0.2),
        "different": pytest.approx(0.2),
    }


class TestTrends:
    def test_a_rate_that_the_victims_encoding_sets(self):
        result = summarise(
            audit(lambda i, j: 0.9 - 0.05 * GRID[j][0] if GRID[j][1] == 16 else 0.5), title="t"
        )
        where = {"varied": "alpha", "kind": "flip"}
        for measure in ("white-box", "onto victims"):
            trend = find(result.trends, measure=measure, **where)
            assert trend.test.rho == pytest.approx(-1)
            assert trend.test.p == pytest.approx(2 / 420)  # both ends of 8! / (2! 4! 2!)
            assert trend.test.exact
            assert trend.direction == "falls"
            assert trend.words == "falls as alpha grows (rho -1.00, p 0.0048, 8 networks)"
            means = [level.rates.mean for level in trend.levels]
            assert means == pytest.approx([0.85, 0.7, 0.1])

    def test_a_rate_that_the_surrogates_encoding_sets_is_no_trend_of_the_victims(self):
        """Who meets no strong surrogate in itself is not a more robust victim for it."""
        result = summarise(audit(lambda i, j: 0.1 + 0.01 * GRID[i][1]), title="t")
        trend = find(result.trends, varied="beta", kind="evade", measure="onto victims")
        assert trend.test is None
        own = find(result.trends, varied="beta", kind="evade", measure="white-box")
        assert own.direction == "rises"
        assert own.test.arrangements == 18_900  # 10! / (2! 2! 4! 2!)

    def test_alpha_and_beta_pull_the_share_in_opposite_directions(self):
        """What lowers a rate with beta raises it with alpha: one step, two names."""
        result = summarise(audit(lambda i, j: 0.9 - 0.5 * SHARES[j]), title="t")
        found = {t.varied: t.direction for t in result.trends if t.measure == "white-box"}
        assert found == {"alpha": "rises", "beta": "falls"}

    def test_equal_rates_have_no_trend(self, plain):
        trend = find(plain.trends, varied="beta", measure="white-box", kind="flip")
        assert trend.test is None
        assert trend.direction == "none"
        assert "all 10 networks have one rate" in trend.words

    def test_what_eight_networks_cannot_show_is_said(self):
        rates = {1: 0.2, 4: 0.4, 16: 0.2}
        result = summarise(audit(lambda i, j: rates.get(GRID[j][0], 0.3) + 0.001 * j), title="t")
        trend = find(result.trends, varied="alpha", measure="white-box", kind="flip")
        assert trend.direction == "none"
        assert trend.words.startswith("no trend in alpha can be shown (rho")
        assert f"|rho| {trend.test.smallest:.2f} would show one" in trend.words

    def test_too_few_networks_say_so(self):
        grid = [(1, 16), (4, 16), (4, 4)]
        result = summarise(audit(lambda i, j: 0.1 + 0.1 * j, grid=grid), title="t")
        trend = find(result.trends, varied="alpha", measure="onto victims", kind="flip")
        assert trend.test.p == 1
        assert trend.test.smallest is None
        assert "so few can show none" in trend.words


class TestEncodingAgainstSeed:
    def contrast(self, result, quantity="transfer", kind="flip"):
        return find(result.contrasts, quantity=quantity, kind=kind)

    def test_the_difference_is_exact_whatever_the_networks_levels(self):
        def rate(i, j):
            added = 0.05 if same(i, j) else 0.02 if equivalent(i, j) else 0.0
            return 0.2 + 0.002 * i + 0.04 * (j in {2, 3, 4, 5}) + added

        result = summarise(audit(rate), title="t")
        found = self.contrast(result)
        # The encoding trained most often is also the easiest victim: plain means mistake that.
        means = {group.relation: group.rates.flip.mean for group in result.groups}
        assert means["same"] - means["different"] > 0.055
        assert found.difference == pytest.approx(0.05)
        assert found.interval[0] <= 0.05 + 1e-9
        assert found.interval[1] >= 0.05 - 1e-9

    def test_an_effect_without_noise_is_certain(self, plain):
        found = self.contrast(plain)
        assert found.p == pytest.approx(1 / 10_000)
        assert found.difference == pytest.approx(0.1)
        assert found.interval == pytest.approx((0.1, 0.1))
        assert (found.arrangements, found.exact) == (10_000, False)
        assert found.words == "+10.0 points (95 % +10.0 to +10.0, p 0.0001)"

    def test_levels_of_networks_are_no_relation(self):
        result = summarise(audit(lambda i, j: 0.1 + 0.02 * i + 0.03 * GRID[j][0]), title="t")
        assert self.contrast(result).difference == pytest.approx(0)
        means = {group.relation: group.rates.flip.mean for group in result.groups}
        assert abs(means["same"] - means["different"]) > 0.01

    def test_power_is_said_in_points(self):
        numbers = np.random.default_rng(3).normal(0.3, 0.05, (14, 14))
        result = summarise(audit(lambda i, j: numbers[i, j]), title="t")
        low, high = self.contrast(result, kind="evade").interval
        half = 50 * (high - low)
        assert result.power(0.1) == (
            "14 networks find an effect of the encoding on transfer of "
            f"{half:.1f} points in one experiment of two, of {1.43 * half:.1f} points in four of "
            "five"
        )
        assert 1 < half < 5

    def test_without_two_seeds_of_an_encoding_nothing_can_be_told(self):
        grid = [(1, 16), (4, 16), (16, 16), (4, 1), (4, 4), (4, 64)]
        result = summarise(audit(lambda i, j: 0.2 + 0.01 * j, grid=grid), title="t")
        assert result.contrasts == ()
        assert result.power(0.1).startswith("no two networks share an encoding")
        assert cell(result.sweeps[0], (4, 16), (4, 16)).rates is None

    def test_four_networks_have_an_estimate_and_no_interval(self):
        grid = [(1, 16), (1, 16), (16, 16), (16, 16)]
        result = summarise(
            audit(lambda i, j: 0.3 + 0.1 * (grid[i] == grid[j]) + 0.01 * j, grid=grid), title="t"
        )
        found = self.contrast(result)
        assert found.difference == pytest.approx(0.1)
        assert found.p == pytest.approx(2 / 6)  # the two ways to name the encodings
        assert found.interval is None
        assert result.power(0.1) == "4 networks are too few for an interval"
        assert "95 %" not in result.contrasts[0].words
        assert [sweep.fixed for sweep in result.sweeps] == ["beta"]

    def test_with_two_networks_left_nothing_can_be_left_out(self):
        grid = [(1, 16), (1, 16), (16, 16)]
        result = summarise(audit(lambda i, j: 0.3, grid=grid), title="t")
        assert result.contrasts == ()


class TestAsymmetry:
    def test_a_symmetric_matrix_is_symmetric(self):
        result = summarise(audit(lambda i, j: 0.1 + 0.02 * abs(i - j)), title="t")
        for found in result.asymmetries:
            assert found.gaps.mean == 0
            assert not found.beyond_sampling

    def test_gaps_are_those_of_the_pairs(self):
        result = summarise(audit(lambda i, j: 0.3 if i < j else 0.2), title="t")
        found = {a.relation: a for a in result.asymmetries if a.kind == "flip"}
        assert list(found) == ["same", "equivalent", "different"]
        assert [a.gaps.count for a in found.values()] == [11, 8, 72]
        for asymmetry in found.values():
            assert asymmetry.gaps.mean == pytest.approx(0.1)
            assert asymmetry.beyond_sampling

    def test_sampling_gives_the_gap_of_two_binomials(self):
        """|X - Y| / n of two binomials has mean sqrt(2 / pi) times its standard deviation."""
        random = np.random.default_rng(1)
        counts = random.binomial(samples.IMAGES, 0.3, (14, 14)) / samples.IMAGES
        result = summarise(audit(lambda i, j: counts[i, j]), title="t")
        found = find(result.asymmetries, relation="different", kind="flip")
        expected = np.sqrt(2 / np.pi) * np.sqrt(2 * 0.3 * 0.7 / samples.IMAGES)
        assert found.sampling == pytest.approx(expected, rel=0.02)
        assert found.gaps.mean == pytest.approx(expected, rel=0.2)
        assert found.sampling < found.upper < 1.3 * found.sampling

    def test_seeds_alone_can_be_as_asymmetric_as_encodings(self):
        """Strong surrogates make any matrix asymmetric: here every network by its own number."""
        numbers = np.random.default_rng(2).permutation(14)
        result = summarise(audit(lambda i, j: 0.1 + 0.03 * numbers[i]), title="t")
        assert all(a.beyond_sampling for a in result.asymmetries)
        assert find(result.contrasts, quantity="asymmetry", kind="flip").p > 0.05


class TestWhatIsRefused:
    def refused(self, changes, match):
        sound = audit(lambda i, j: 0.2, grid=GRID[:4])
        changed = dataclasses.replace(sound.devices[1], **changes)
        devices = (sound.devices[0], changed, *sound.devices[2:])
        with pytest.raises(AuditError, match=match):
            summarise(dataclasses.replace(sound, devices=devices), title="t")

    def test_an_undisclosed_encoding(self):
        self.refused({"encoding": None}, "device a1-b16-s1 has no single alpha and beta")

    def test_an_alpha_for_each_class(self):
        self.refused({"encoding": samples.encoding([1.0] * 10, 16.0)}, "no single alpha")
        self.refused({"encoding": samples.encoding(1.0, [16.0] * 10)}, "no single alpha")

    def test_another_order_of_classes(self):
        shuffled = samples.encoding(1.0, 16.0, order=[1, 0, *range(2, 10)])
        self.refused({"encoding": shuffled}, "varies the order of classes")

    def test_networks_that_decode_nothing(self):
        dead = audit(lambda i, j: 0.0, grid=GRID[:2], correct=[0, 0], noise=lambda j: 0.0)
        with pytest.raises(AuditError, match="decodes a single image"):
            summarise(dead, title="t")


def test_a_network_that_decodes_nothing_and_controls_are_left_out_and_named():
    found = audit(
        lambda i, j: 0.2, grid=GRID[:4], correct=[1000, 0, 900, 1000], extra=[samples.control()]
    )
    result = summarise(found, title="t")
    assert [network.name for network in result.networks] == ["a1-b16-s0", "a4-b16-s0", "a4-b16-s1"]
    assert result.settings["left_out"] == ["a1-b16-s1", "tra"]


def test_each_eps_has_all_of_it():
    found = audit(lambda i, j: 0.2, grid=GRID[:6], eps=(0.1, 0.2), checks=(samples.MASKED,))
    result = summarise(found, title="t")
    assert result.eps == (0.1, 0.2)
    for items in (result.sweeps, result.trends, result.groups, result.asymmetries):
        eps = [item.eps for item in items]
        assert eps.count(0.1) == eps.count(0.2) > 0
    assert result.checks == (samples.MASKED,)


def test_the_result_is_the_same_twice_and_survives_its_file(plain, tmp_path):
    path = tmp_path / "figure3.json"
    plain.save(path)
    assert Figure3.load(path) == plain
    again = summarise(audit(lambda i, j: 0.2 + 0.01 * i, grid=GRID[:6]), title="t")
    assert again == summarise(audit(lambda i, j: 0.2 + 0.01 * i, grid=GRID[:6]), title="t")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data["sweeps"][0]["cells"].pop(),
        lambda data: data["groups"][0]["rates"]["flip"].update(low=0.9, high=0.1),
        lambda data: data.pop("networks"),
        lambda data: data.update(schema="fleet.reproduction.figure3/9"),
    ],
)
def test_a_damaged_file_is_refused(plain, tmp_path, damage):
    data = json.loads(json.dumps(plain.to_dict()))
    damage(data)
    path = tmp_path / "figure3.json"
    path.write_text(json.dumps(data))
    with pytest.raises(AuditError):
        Figure3.load(path)
