"""A classifier as a command: it reads a line of JSON for each request, and writes one for each answer.

    evofool doctor --classifier "command:python docs/examples/predict.py" --data digits --with kind=logits

A request is {"id": 7, "images": ["base64 of a PNG", ...]}, an answer {"id": 7, "scores": [[...], ...]}: the same id,
and a row of scores for each image, one for each class in the order of `class_names`. Nothing else goes to standard
output; what is to be told goes to standard error.
"""

import base64
import io
import json
import sys

import numpy as np
import torch
from PIL import Image

from evofool import load_classifier

torch.set_num_threads(1)
model = load_classifier("digits")  # here stands your own

for line in sys.stdin:
    request = json.loads(line)
    files = [base64.b64decode(image) for image in request["images"]]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    scores = model(torch.from_numpy(pixels[:, None] / np.float32(255)))
    print(json.dumps({"id": request["id"], "scores": scores.tolist()}), flush=True)
