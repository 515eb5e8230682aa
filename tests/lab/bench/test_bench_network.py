"""The bare network beside its plain export: what is compared, never how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facekeep.errors import InputError
from facekeep.lab.bench.network import measure_network
from facekeep.lab.nn import create_model, save_checkpoint
from facekeep.models import import_model

pytestmark = pytest.mark.usefixtures("ready_models")


@pytest.mark.slow
def test_a_network_of_ours_beside_its_plain_export(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = create_model("edgeface-xxs", input_size=32, layer_scale=0.5)
    save_checkpoint(model, tmp_path / "it.pt")
    import_model(tmp_path / "it.pt", "mine", arch="edgeface-xxs", input_size=32)
    found = measure_network("mine", repeats=3)
    assert (found.model, found.repeats) == ("mine", 3)
    assert 0 < found.median_ms <= found.p95_ms
    assert found.plain_export_ms is not None
    assert found.ratio == pytest.approx(found.median_ms / found.plain_export_ms)
    assert found.plain_export == f"PyTorch {torch.__version__}, by torch.export"
    assert capfd.readouterr() == ("", "")
    assert found.difference is not None
    assert found.difference < 1e-5
    assert found.macs is not None
    assert found.limit_ms is not None
    assert found.limit_ms > 0


@pytest.mark.slow
def test_another_network_has_no_plain_export() -> None:
    found = measure_network("sface", repeats=3)
    assert (found.plain_export_ms, found.ratio, found.difference) == (None, None, None)
    assert "'sface' is no EdgeFace that facekeep wrote" in found.plain_export


def test_only_embedders_are_timed() -> None:
    with pytest.raises(InputError, match="'yunet' is one to detect, not to embed, faces"):
        measure_network("yunet")
