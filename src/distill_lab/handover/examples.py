"""Three short programs that a hand-over brings along, one for each file that holds the student.

They are texts: what they import is for those who run them to have, and no part of this package.
"""

from __future__ import annotations

LOAD_PT2 = '''\
"""Ask the student, with torch alone: python load_pt2.py [inputs.json]"""
import json
import sys
from pathlib import Path

import torch

here = Path(__file__).parent
config = json.loads((here / "config.json").read_text(encoding="utf-8"))
asked = json.loads(Path(*sys.argv[1:] or [here / "example.json"]).read_text())["inputs"]
student = torch.export.load(here / "student.pt2").module()
logits = student(torch.tensor(asked, dtype=getattr(torch, config["dtype"])))
for number in logits.argmax(dim=1):
    print(config["data"]["class_names"][number])
'''

LOAD_ONNX = '''\
"""Ask the student, with onnxruntime and numpy alone: python load_onnx.py [inputs.json]"""
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

here = Path(__file__).parent
config = json.loads((here / "config.json").read_text(encoding="utf-8"))
asked = json.loads(Path(*sys.argv[1:] or [here / "example.json"]).read_text())["inputs"]
student = onnxruntime.InferenceSession(here / "student.onnx")
(logits,) = student.run(["logits"], {"inputs": np.array(asked, dtype=config["dtype"])})
for number in logits.argmax(axis=1):
    print(config["data"]["class_names"][number])
'''

LOAD_SAFETENSORS = '''\
"""Ask the student, with its weights alone: python load_safetensors.py [inputs.json]

The file holds no network. Its code is named in config.json, so distill_lab has to be installed.
"""
import json
import sys
from pathlib import Path

import torch

from distill_lab.handover.load import load_student

here = Path(__file__).parent
config = json.loads((here / "config.json").read_text(encoding="utf-8"))
asked = json.loads(Path(*sys.argv[1:] or [here / "example.json"]).read_text())["inputs"]
logits = load_student(here)(torch.tensor(asked, dtype=getattr(torch, config["dtype"])))
for number in logits.argmax(dim=1):
    print(config["data"]["class_names"][number])
'''

EXAMPLES = {
    "load_pt2.py": LOAD_PT2,
    "load_onnx.py": LOAD_ONNX,
    "load_safetensors.py": LOAD_SAFETENSORS,
}
"""File name -> text."""
