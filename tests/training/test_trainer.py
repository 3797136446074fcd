"""Who starts the processes of a training, inside a SLURM job and outside."""

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only

from mris.errors import SettingsError
from mris.training.processes import process_rank
from mris.training.trainer import launchers


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rank_zero_only, "rank", 3, raising=False)  # as Lightning takes it from SLURM_PROCID

    def start(n_tasks: int, per_node: int | None = None) -> None:
        monkeypatch.setenv("SLURM_JOB_NAME", "knees")
        monkeypatch.setenv("SLURM_NTASKS", str(n_tasks))
        if per_node is not None:
            monkeypatch.setenv("SLURM_NTASKS_PER_NODE", str(per_node))

    return start


@pytest.mark.parametrize("n_tasks", [1, 4])
def test_one_process_trains_in_any_slurm_job_and_is_the_first(job, n_tasks: int) -> None:
    job(n_tasks)
    (environment,) = launchers("cpu", "auto", 1)
    assert isinstance(environment, LightningEnvironment)
    assert process_rank() == 0


def test_a_job_of_one_task_starts_a_process_a_device_itself(job) -> None:
    job(1)
    assert isinstance(launchers("cpu", 4, 1)[0], LightningEnvironment)


def test_srun_starts_the_processes_where_its_tasks_are_as_many(job) -> None:
    job(8, per_node=4)
    assert launchers("cpu", 4, 2) == launchers("cpu", "0,1,2,3", 2) == []
    assert process_rank() == 3


@pytest.mark.parametrize(("n_tasks", "per_node", "n_nodes"), [(4, None, 1), (2, 2, 1), (1, 1, 2)])
def test_tasks_that_do_not_fit_the_devices_are_refused_with_the_way_out(job, n_tasks, per_node, n_nodes) -> None:
    job(n_tasks, per_node)
    with pytest.raises(SettingsError, match=rf"has {n_tasks} tasks; ask for --nodes {n_nodes} --ntasks-per-node 4"):
        launchers("cpu", 4, n_nodes)


def test_outside_of_a_job_lightning_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert launchers("cpu", 4, 2) == []
