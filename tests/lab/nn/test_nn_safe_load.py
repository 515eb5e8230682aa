"""Reading checkpoints: what is in them, and that nothing they ask for is done."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from facekeep.errors import FacekeepError, ModelCorrupt, ModelError, ModelNotFound
from facekeep.lab.nn import read_state


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def archive(path: Path, pickled: bytes, *storages: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("archive/data.pkl", pickled)
        for number, storage in enumerate(storages):
            target.writestr(f"archive/data/{number}", storage)
    return path


def tensor_pickle(
    *,
    offset: int = 0,
    shape: tuple[Any, ...] = (2,),
    strides: tuple[Any, ...] = (1,),
    count: int = 2,
    key: Any = "0",
    times: int = 1,
) -> bytes:
    """The pickle of a state dict with ``times`` tensors, each a view of one storage."""

    class Storage:
        pass

    class Stored:
        def __reduce__(self) -> tuple[Any, ...]:
            rebuild = torch._utils._rebuild_tensor_v2
            return rebuild, (Storage(), offset, shape, strides, False, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, Storage):
                return ("storage", torch.FloatStorage, key, "cpu", count)
            return None

    stream = io.BytesIO()
    Pickler(stream, 2).dump({f"tensor{number}": Stored() for number in range(times)})
    return stream.getvalue()


TWO = struct.pack("<2f", 1.5, -2)


def refused(path: Path, words: str = "cannot be read: .* a plain state dict") -> None:
    with pytest.raises(ModelCorrupt, match=words) as caught:
        read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


def test_reads_what_pytorch_saves(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = torch.randn(4, 6, 3, 3)
    state = OrderedDict(
        float=base,
        half=base.half(),
        bfloat=base.bfloat16(),
        double=base.double(),
        whole=torch.tensor([3, -7]),
        number=torch.tensor(2.5),
        turned=base.transpose(0, 1),
        last=base.to(memory_format=torch.channels_last),
        part=base[1:3, 2],
        parameter=nn.Parameter(base),
        repeated=base,
    )
    found = read_state(saved(tmp_path / "state.pt", state))
    assert list(found) == list(state)
    for name, value in state.items():
        assert found[name].dtype == torch.float32
        assert found[name].is_contiguous()
        assert torch.equal(found[name], value.detach().float())
    found["float"] += 1  # the tensors are the caller's own
    assert not torch.equal(found["float"], found["repeated"])


def test_reads_a_modules_state_and_takes_the_prefix_off(tmp_path: Path) -> None:
    module = nn.ModuleDict({"model": nn.ModuleDict({"model": nn.Linear(2, 3)})})
    found = read_state(saved(tmp_path / "state.pt", module.state_dict()))
    assert list(found) == ["model.weight", "model.bias"]
    assert torch.equal(found["model.weight"], module["model"]["model"].weight)


def test_dequantizes_dynamically_quantized_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to move its quantization elsewhere
        small = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)
        path = saved(tmp_path / "q.pt", small.state_dict())
    found = read_state(path)
    names = {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"}
    assert set(found) == names
    for layer in ("0", "2"):
        assert torch.equal(found[f"{layer}.weight"], small[int(layer)].weight().dequantize())
        assert torch.equal(found[f"{layer}.bias"], small[int(layer)].bias())


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    state = {"model.a": torch.ones(2), "a": torch.ones(2)}
    refused(saved(tmp_path / "twice.pt", state), "same name")


def test_a_scale_of_an_unquantized_layer_is_kept(tmp_path: Path) -> None:
    state = {"norm.scale": torch.ones(2), "norm.zero_point": torch.ones(1)}
    assert list(read_state(saved(tmp_path / "s.pt", state))) == list(state)


class Evil:
    """Unpickled by pickle itself, it runs a command."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.asks = (call, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.asks


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that exists only if foreign code ran."""
    return tmp_path / "it-ran"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("inside", ["alone", "value", "argument"])
def test_a_malicious_pickle_is_refused_and_not_run(
    tmp_path: Path, trace: Path, protocol: int, inside: str
) -> None:
    evil: Any = Evil(os.system, f"touch {trace}")
    evil = {"alone": evil, "value": {"weight": evil}, "argument": OrderedDict(a=(evil,))}[inside]
    pickled = pickle.dumps(evil, protocol)
    refused(archive(tmp_path / "zip.pt", pickled))
    (tmp_path / "raw.pt").write_bytes(pickled)
    refused(tmp_path / "raw.pt")
    assert not trace.exists()
    with zipfile.ZipFile(tmp_path / "zip.pt") as made:
        pickle.loads(made.read("archive/data.pkl"))
    assert trace.exists()  # pickle itself would have run it


@pytest.mark.parametrize("modern", [True, False])
def test_a_malicious_file_made_by_pytorch_is_not_run(
    tmp_path: Path, trace: Path, modern: bool
) -> None:
    content = {"model.stem.0.weight": torch.ones(2), "x": Evil(os.mkdir, str(trace))}
    path = saved(tmp_path / "evil.pt", content, _use_new_zipfile_serialization=modern)
    refused(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_says_what_was_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "evil.pt", {"x": Evil(os.system, "true")})
    refused(path, r"asks for posix\.system, which is no tensor; nothing was run")


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02\x82\x01.",
        b"c__builtin__\neval\n(Vprint(1)\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    ],
)
def test_every_way_of_calling_is_closed(tmp_path: Path, code: bytes) -> None:
    refused(archive(tmp_path / "code.pt", code))


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b".",
        b"}",
        b"N.",
        b"(.",
        b"t.",
        b"}K\x01K\x02s.",
        b"}(K\x01u.",
        b"}(X\x01\x00\x00\x00au.",
        b"Q.",
        b"K\x01Q.",
        b"K\x01K\x01R.",
        b"NNb.",
        b"h\x07.",
        b"X\xff\xff\xff\x7fa.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"r\xff\xff\xff\xff.",
        b"ctorch\nFloatStorage\n)R.",
        b"ccollections\nOrderedDict\n(K\x01K\x02tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_parameter\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\nNR.",
        b"ctorch._utils\n_rebuild_qtensor\n(NNNNNtR.",
        b"\xff\xfe",
        b"cos.",
        b"I" + b"9" * 5000 + b"\n.",
        # A key so deep that looking at it would end the process.
        b"ccollections\nOrderedDict\n((" + b")" + b"\x85" * 300_000 + b"K\x01\x86ttR.",
        b"ccollections\nOrderedDict\n((K\x01K\x02\x86ttR.",
        # Hashing it would take longer than there is time.
        b"}K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 100 + b"K\x01s.",
    ],
)
def test_nonsense_is_refused(tmp_path: Path, code: bytes) -> None:
    refused(archive(tmp_path / "code.pt", code))


def test_a_sound_handmade_archive_is_read(tmp_path: Path) -> None:
    found = read_state(archive(tmp_path / "a.pt", tensor_pickle(), TWO))
    assert found["tensor0"].tolist() == [1.5, -2]


@pytest.mark.parametrize(
    "claims",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (3,)},
        {"shape": (2, 2), "strides": (2, 1)},
        {"shape": (-2,)},
        {"shape": (0,)},
        {"shape": (True,)},
        {"shape": (2.0,)},
        {"strides": (-1,)},
        {"strides": (1 << 62,)},
        {"shape": (1,), "strides": (1 << 70,)},
        {"shape": (1 << 70,), "strides": (0,)},
        {"shape": (1 << 40,), "strides": (0,)},
        {"count": 1},
        {"count": 3},
        {"key": "1"},
        {"key": "../data.pkl"},
    ],
)
def test_tensors_that_claim_what_is_not_there_are_refused(
    tmp_path: Path, claims: dict[str, Any]
) -> None:
    refused(archive(tmp_path / "a.pt", tensor_pickle(**claims), TWO))


def quantized_pickle(stride: bytes = b"K\x00") -> bytes:
    """The pickle of two INT8 numbers, both the first of one that are stored."""
    storage = b"(X\7\0\0\0storagectorch\nQInt8Storage\nX\1\0\0\0000X\3\0\0\0cpuK\x01tQ"
    scheme = b"(ctorch\nper_tensor_affine\nG?\xf0\0\0\0\0\0\0K\x7ft"
    tensor = b"(" + storage + b"K\0(K\x02t(" + stride + b"t" + scheme
    return b"}X\1\0\0\0actorch._utils\n_rebuild_qtensor\n" + tensor + b"\x89}tRs."


def test_quantized_tensors_outside_their_storage_are_refused(tmp_path: Path) -> None:
    sound = archive(tmp_path / "sound.pt", quantized_pickle(), b"\1")
    assert read_state(sound)["a"].tolist() == [1 - 127, 1 - 127]
    for stride in (b"K\x01", b"J\0\0\0\x7f", b"J\0\0\0\xff", b"\x8a\x08" + b"\x7f" * 8):
        refused(archive(tmp_path / "z.pt", quantized_pickle(stride), b"\1"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    refused(saved(tmp_path / "n.pt", {"a": torch.tensor([1, value])}), "not finite")


def test_numbers_too_large_for_float32_are_refused(tmp_path: Path) -> None:
    refused(saved(tmp_path / "n.pt", {"a": torch.tensor([1e300], dtype=torch.float64)}), "finite")


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3},
        {"a": torch.ones(2), "name": "edgeface"},
        {"state_dict": {"a": torch.ones(2)}},
        {"a": (torch.ones(2), 3)},
        {"a": None},
        {1: torch.ones(2)},
        [torch.ones(2)],
        torch.ones(2),
        {"x._packed_params._packed_params": (torch.ones(2),)},
        {"x._packed_params._packed_params": torch.ones(2)},
        {"a": torch.ones(2, dtype=torch.complex64)},
    ],
)
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    refused(saved(tmp_path / "c.pt", content))


def peak_of_refusing(path: Path) -> int:
    tracemalloc.start()
    try:
        refused(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_bombs_stay_small(tmp_path: Path) -> None:
    room = 64 << 20
    zeros = bytes(100 << 20)
    packed = archive(tmp_path / "a.pt", tensor_pickle(), zeros, method=zipfile.ZIP_DEFLATED)
    del zeros
    assert peak_of_refusing(packed) < room
    many = tensor_pickle(shape=(1 << 20,), count=1 << 20, times=2000)
    assert peak_of_refusing(archive(tmp_path / "b.pt", many, bytes(4 << 20))) < room
    doubled = b"}X\x01\x00\x00\x00kNq\x00" + b"h\x00\x86q\x00" * 100_000 + b"s."
    assert peak_of_refusing(archive(tmp_path / "c.pt", doubled)) < room
    allocation = b"c__builtin__\nbytearray\n\x8a\x06" + b"\0" * 5 + b"\x01\x85R."
    assert peak_of_refusing(archive(tmp_path / "f.pt", allocation)) < room
    memo = b"}" + b"r\xff\xff\xff\x7f" + b"."
    assert read_state(archive(tmp_path / "d.pt", memo)) == {}
    assert peak_of_refusing(archive(tmp_path / "e.pt", bytes(2 << 20))) < room


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", tensor_pickle(), TWO)
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", start + 1)
    end = content.index(b"PK\x05\x06")
    entries = content[start:second] + content[second:end] * 200
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 201, 201, len(entries), start, 0)
    path.write_bytes(content[:start] + entries + tail)
    with zipfile.ZipFile(path) as made:
        assert len(made.infolist()) == 201
    read_state(path)  # small members may repeat: the claim below is what may not
    grown = entries.replace(struct.pack("<2L", 8, 8), struct.pack("<2L", 8, 1 << 30))
    path.write_bytes(content[:start] + grown + tail)
    refused(path, "overlap")


def test_big_endian_numbers_are_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", tensor_pickle(), struct.pack(">2f", 1.5, -2))
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("archive/byteorder", "big")
    assert read_state(path)["tensor0"].tolist() == [1.5, -2]


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    content = saved(tmp_path / "whole.pt", nn.Linear(8, 8).state_dict()).read_bytes()
    path = tmp_path / "part.pt"
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        refused(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="check the path"):
        read_state(tmp_path / "none.pt")
    with pytest.raises(ModelError, match="folder"):
        read_state(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="pipe"):
        read_state(tmp_path / "pipe")
    with pytest.raises(FacekeepError):
        read_state(3)  # type: ignore[arg-type]


SOUND = io.BytesIO()
torch.save(OrderedDict(a=torch.ones(3, 2), b=torch.zeros(2, dtype=torch.float16)), SOUND)


@pytest.mark.slow
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.integers(0, len(SOUND.getvalue()) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    )
)
def test_damaged_files_are_read_or_refused(tmp_path: Path, damage: list[tuple[int, int]]) -> None:
    content = bytearray(SOUND.getvalue())
    for place, value in damage:
        content[place] = value
    read_or_refused(tmp_path, bytes(content))


@pytest.mark.slow
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    *(bytes([code]) for code in b".(}tsuQRb)N0e]\x85\x86\x87\x88\x89"),
                    b"K\x01",
                    b"K\x02",
                    b"q\x00",
                    b"h\x00",
                    b"X\x01\x00\x00\x000",
                    b"X\x07\x00\x00\x00storage",
                    b"ccollections\nOrderedDict\n",
                    b"ctorch\nFloatStorage\n",
                    b"ctorch._utils\n_rebuild_tensor_v2\n",
                    b"ctorch._utils\n_rebuild_qtensor\n",
                    b"ctorch._utils\n_rebuild_parameter\n",
                    b"ctorch\nper_tensor_affine\n",
                    b"G?\xf0\x00\x00\x00\x00\x00\x00",
                ]
            ),
            st.binary(max_size=4),
        ),
        max_size=30,
    )
)
def test_any_pickle_is_read_or_refused(tmp_path: Path, parts: list[bytes]) -> None:
    read_or_refused(
        tmp_path, archive(tmp_path / "made.pt", b"".join(parts) + b".", TWO).read_bytes()
    )


def read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "fuzz.pt"
    path.write_bytes(content)
    try:
        found = read_state(path)
    except ModelCorrupt:
        return
    assert all(value.dtype == torch.float32 for value in found.values())
