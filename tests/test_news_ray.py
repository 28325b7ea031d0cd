"""Reading on many workers: real Ray on this machine, in a process of its own that reaches nothing but this machine."""

import json
import os
import subprocess
import sys

import pytest

from agentlab import newsreader
from tests.conftest import loopback_is_up

pytest.importorskip("ray")

PROBE = """
import json
import numpy as np
from agentlab.offline import block_network
block_network()
from agentlab import news, newsreader
import ray

texts = [i.text for i in news.load_news("test")][:256]
told = newsreader.read_with_ray(texts, workers=2, batch=32, step=newsreader.TimedReader)
alone = newsreader.read_columns({"text": np.array(texts, dtype=object)}, newsreader.load())
print(json.dumps({
    "in_order": told["text"].tolist() == texts,
    "same": {name: float(np.mean(told[name] == alone[name])) for name in ("company", "topic", "sentiment")},
    "difference": float(np.abs(told["negative"] - alone["negative"]).max()),
    "workers": len(set(told["worker"].tolist())),
    "left_running": ray.is_initialized(),
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not loopback_is_up(), reason="Ray's processes speak over this machine's loopback, which is down")
def test_two_ray_workers_read_the_same_as_one_process_in_the_same_order(tmp_path):
    newsreader.load()  # trained before, so that the time limit is Ray's own
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": "/tmp", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["workers"] == 2
    assert said["in_order"]
    assert min(said["same"].values()) >= 0.99
    assert said["difference"] < 0.05
    assert not said["left_running"]
