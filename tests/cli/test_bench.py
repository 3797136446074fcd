"""`mris bench` on the command line."""

from mris.bench.measured import Measured


def test_the_command_tells_each_measure_and_whether_all_is_well(run_cli, monkeypatch) -> None:
    fast, slow = Measured("encode", "images", 90, 100, 0.9, 0.8), Measured("search", "queries", 5, 10, 0.5, 0.8)
    for found, end in (((fast,), "all 1 are as they should be"), ((fast, slow), "1 of 2 are low")):
        monkeypatch.setattr("mris.cli.bench._measured", lambda *_, found=found: iter(found))
        outcome = run_cli("bench")
        assert outcome.code == 0
        assert "encode: 90 images/s, 0.90 of 100\n" in outcome.out
        assert end in outcome.out
    assert "search: 5 queries/s, 0.50 of 10  low: usual is 0.80 and more" in outcome.out
