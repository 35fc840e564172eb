"""Folders of public profiles: the same measurements, as their authors publish them and re-encoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tradespace.costmodels import profiles
from tradespace.costmodels.fitting import Samples
from tradespace.costmodels.shipping import joined
from tradespace.errors import DataError

Found = dict[tuple[str, str, str, str], Samples]


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))
    return path


def found(folder: Path) -> Found:
    parts: dict[tuple[str, str, str, str], list[Samples]] = {}
    for name, split, samples in profiles.load(folder):
        parts.setdefault((name, split, samples.family, samples.dtype), []).append(samples)
    return {key: joined(listed) for key, listed in parts.items()}


def in_order(samples: Samples) -> list[tuple[float, ...]]:
    """Rows of shape and time."""
    columns = [samples.shapes[name] for name in sorted(samples.shapes)]
    return sorted(zip(*(c.tolist() for c in columns), samples.seconds.tolist(), strict=True))


def same(one: Found, other: Found) -> None:
    """Equal devices, families, shapes, times and groups."""
    assert one
    assert one.keys() == other.keys()
    for key, samples in one.items():
        assert samples.shapes.keys() == other[key].shapes.keys()
        for name, values in samples.shapes.items():
            np.testing.assert_array_equal(values, other[key].shapes[name])
        np.testing.assert_array_equal(samples.seconds, other[key].seconds)
        np.testing.assert_array_equal(samples.group, other[key].group)


# --- AIConfigurator ------------------------------------------------------------------------------------
LEFT = "framework,version,device,op_name,kernel_source,"
HERE = "VLLM,0.14.0,NVIDIA H100 80GB HBM3,any,vllm_flash_attn,"
GEMM = ("16,32,64,0.01", "64,32,64,0.02", "64,128,64,0.03")
CONTEXT = "batch_size,isl,num_heads,num_key_value_heads,head_dim,beam_width,attn_dtype,kv_cache_dtype,step,"
ATTENTION = ("4,512,32,8,128,1,bfloat16,bfloat16,0,0.5", "8,512,32,8,128,1,bfloat16,bfloat16,0,0.9",
             "8,512,32,8,128,1,fp8,fp8,0,0.4")  # fmt: skip


def test_tables_of_aiconfigurator_are_found_as_published(tmp_path: Path) -> None:
    data = tmp_path / "clone" / "src" / "aiconfigurator" / "systems" / "data"
    gemm = [f"{HERE}{dtype},{row}" for dtype in ("bfloat16", "fp8") for row in GEMM]
    write(data / "h100_sxm/vllm/0.14.0/gemm_perf.txt", LEFT + "gemm_dtype,m,n,k,latency", *gemm)
    write(data / "h100_sxm/vllm/0.14.0rc10/gemm_perf.txt", "an older version")
    write(data / "h100_sxm/vllm/0.9.1/gemm_perf.txt", "an older version")
    rows = [HERE + row for row in ATTENTION]
    for kind in ("context", "generation"):
        write(data / f"h100_sxm/vllm/0.14.0/{kind}_attention_perf.txt", LEFT + CONTEXT + "latency", *rows)
    write(data / "h100_sxm/vllm/0.14.0/SHARED_LAYER_REUSE.txt", "see 0.13.0")
    messages = [(op, f"half,{n},1024,0.0{n}") for op in ("all_reduce", "alltoall") for n in (2, 8)]
    theirs = [f"NCCL,2.27.3,H100,{op},nccl,{row}" for op, row in messages]
    columns = "nccl_dtype,num_gpus,message_size,latency"
    write(data / "h100_sxm/nccl/2.27.3/nccl_perf.txt", LEFT + columns, *theirs)
    write(data / "some_other/vllm/0.14.0/gemm_perf.txt", "of a device that is not in the catalog")
    own = tmp_path / "own" / "aiconfigurator"
    for ours in ("bfloat16", "fp8"):
        lines = (f"{ours},x,{row}" for row in GEMM)
        write(own / f"h100_sxm_gemm_{ours}.csv", "dtype,kernel_source,m,n,k,latency_ms", *lines)
    for kind in ("context", "generation"):
        write(own / f"h100_sxm_attention_{kind}.csv", CONTEXT + "latency_ms", *ATTENTION)
    write(own / "h100_sxm_nccl.csv", f"op_name,{columns}_ms", *(f"{op},{row}" for op, row in messages))
    same(found(tmp_path / "clone"), found(tmp_path / "own"))
    same(found(data), found(own))
    assert len(found(data)["h100-sxm-80gb", "all", "attention_decode", "bf16"]) == 2


def test_parquet_tables_are_read_as_text_ones(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [[float(cell) for cell in row.split(",")] for row in GEMM]
    columns = dict(zip(("m", "n", "k", "latency"), map(list, zip(*rows, strict=True)), strict=True))
    folder = tmp_path / "p" / "h100_sxm" / "sglang" / "0.5.10"
    folder.mkdir(parents=True)
    parquet.write_table(
        arrow.table({"gemm_dtype": ["bfloat16"] * 3, **columns}), folder / "gemm_perf.parquet"
    )
    text = [f"bfloat16,{row}" for row in GEMM]
    write(tmp_path / "t/h100_sxm/sglang/0.5.10/gemm_perf.txt", "gemm_dtype,m,n,k,latency", *text)
    same(found(tmp_path / "p"), found(tmp_path / "t"))


def test_a_pointer_in_the_place_of_a_table_says_how_to_fetch_it(tmp_path: Path) -> None:
    lines = ("version https://git-lfs.github.com/spec/v1", "oid sha256:d255", "size 601912")
    for name in ("gemm_perf.parquet", "gemm_perf.txt"):
        path = write(tmp_path / "a100_sxm" / "trtllm" / "1.0.0" / name, *lines)
        with pytest.raises(DataError, match=r"is a pointer of Git LFS, not the table; .*'git lfs pull'"):
            found(tmp_path)
        path.unlink()


# --- Vidur ---------------------------------------------------------------------------------------------
OPERATORS = ("input_layernorm", "mlp_act", "add")
MODEL = (
    "n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,num_tensor_parallel_workers"
)


def test_tables_of_vidur_are_found_as_published(tmp_path: Path) -> None:
    statistics = ("min", "max", "mean", "median", "std")
    shapes = {
        "phi-2": ("32,32,2560,10240,51200,False", 4096),
        "Llama-2-7b-hf": ("32,32,4096,11008,32768,True", 512),
    }
    recoded, published = tmp_path / "r" / "vidur", tmp_path / "v" / "data" / "profiling" / "compute" / "a100"
    for maker, (name, (model, tokens)) in zip(("microsoft", "meta-llama"), shapes.items(), strict=True):
        long, wide = [], []
        for row, ways in enumerate((1, 1, 2)):
            times = [0.01 * (1 + row + column) for column in range(3)]
            where = f"{model},{tokens + row},{ways}"
            long += [f"{op},{where},{t},{t},0.0" for op, t in zip(OPERATORS, times, strict=True)]
            wide.append(",".join([*(f"{t + (s != 'median')}" for t in times for s in statistics), where]))
        head = ",".join(f"time_stats.{op}.{s}" for op in OPERATORS for s in statistics)
        write(published / maker / name / "mlp.csv", f"{head},{MODEL}", *wide)
        write(recoded / f"compute_a100_{name}.csv", f"op,{MODEL},min_ms,median_ms,std_ms", *long)
    write(published.parent / "a40" / "microsoft" / "phi-2" / "mlp.csv", "of a device that is not known")
    one, other = found(tmp_path / "v"), found(tmp_path / "r")
    assert {key[2] for key in one} == {"elementwise", "layer_norm"}
    for key in one:  # models come in another order
        assert in_order(one[key]) == in_order(other[key])


def test_attention_of_vidur_is_that_of_one_worker(tmp_path: Path) -> None:
    head = (
        "time_stats.attn_decode.median,time_stats.attn_prefill.median,n_embd,n_q_head,n_kv_head,block_size,"
        "num_tensor_parallel_workers,max_model_len,batch_size,prefill_chunk_size,kv_cache_size,is_prefill"
    )
    rows = (
        "0.015,,8192,64,8,16,2,4096,4,0,32,False",
        ",0.4,8192,64,8,16,2,4096,1,512,0,True",
        ",0.5,8192,64,8,16,2,4096,1,512,1024,True",  # a later part of a prompt
        "0.001,,8192,64,8,16,2,4096,1,0,32,False",  # as short as the clock's step
    )
    write(tmp_path / "data/profiling/compute/h100/meta-llama/Llama-2-70b-hf/attention.csv", head, *rows)
    both = found(tmp_path)
    decode = both["h100-sxm-80gb", "all", "attention_decode", "fp16"]
    prefill = both["h100-sxm-80gb", "all", "attention_prefill", "fp16"]
    plain = [{k: v.tolist() for k, v in s.shapes.items()} for s in (decode, prefill)]
    worker = {"heads": [32.0], "kv_heads": [4.0], "head_dim": [128.0]}
    assert plain[0] == {"batch": [4.0], "context": [32.0], **worker}
    assert plain[1] == {"batch": [1.0], "sequence": [512.0], **worker}
    assert (decode.seconds.tolist(), prefill.seconds.tolist()) == ([1.5e-5], [4e-4])


# --- NeuSight ------------------------------------------------------------------------------------------
THEIRS = "OPName,Latency,Device,Torch Version,Kernel Name,"
KERNEL = '"void at::native::vectorized_elementwise_kernel<4, at::native::add<float> >(int, float)"'
CARDS = ("Tesla T4", "NVIDIA A100-PCIE-40GB", "Tesla P4")


def test_tables_of_neusight_are_found_as_published(tmp_path: Path) -> None:
    sizes = {"linear": "1,64,128,256", "elem": "4096,512", "softmax": "4096,512", "ln": "4096,512"}
    shapes = {file: "B,M,N,K" if file == "linear" else "B,H" for file in sizes}
    recoded, dataset = tmp_path / "r" / "neusight", tmp_path / "n" / "scripts" / "asplos" / "data" / "dataset"
    for file, size in sizes.items():
        operators = ("add", "gelu") if file == "elem" else (file,)
        lines = []
        for folder, split in (("train", "small"), ("test", "large")):
            rows = [(op, card, 0.1 * (i + 1)) for op in operators for i, card in enumerate(CARDS)]
            lines += [f"{card},{op},{split},{size},x,1x1x1,{t}" for op, card, t in rows]
            for op in operators:
                mine = [f"{o},{t},{card},p2.1.0,{KERNEL},{size}" for o, card, t in rows if o == op]
                if folder == "test":
                    continue
                for line, card in zip(mine, CARDS, strict=True):
                    where = dataset / "train" / "collect" / op / "p2.1.0" / f"{card}.csv"
                    write(where, THEIRS + shapes[file], line)
            if folder == "test" or file == "ln":  # joined, beside what it was joined from
                joined = [f"{op},{t},{card},p2.1.0,{KERNEL},{size}" for op, card, t in rows]
                write(dataset / folder / f"{file}.csv", THEIRS + shapes[file], *joined)
        columns = f"device,op,split,{shapes[file].lower()},kernel,grid,latency_ms"
        write(recoded / f"{file}_fp32.csv", columns, *lines)
    one, other = found(tmp_path / "n"), found(tmp_path / "r")
    assert {key[0] for key in one} == {"t4-16gb", "a100-pcie-40gb"}
    assert {key[1] for key in one} == {"small", "large"}
    assert one.keys() == other.keys()
    for key in one:
        assert in_order(one[key]) == in_order(other[key])
