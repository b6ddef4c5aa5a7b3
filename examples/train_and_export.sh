#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train SCDAE on a folder of your own images, write heatmaps of the good ones, and export the model to OpenVINO.
#
#     examples/train_and_export.sh FOLDER --trainer.max_steps 400
#
# FOLDER/good holds normal images. What follows FOLDER goes to `anomalib train`; for images with anomalies that lie in
# FOLDER/bad, add --data.abnormal_dir bad. Without a number of steps there are 2,000.
set -euo pipefail

folder=${1:?usage: $0 FOLDER [options of anomalib train]}
shift
results=results
checkpoint=$results/SCDAE/mine/latest/weights/lightning/model.ckpt

anomalib train --model SCDAE --data Folder --data.name mine --data.root "$folder" --data.normal_dir good \
    --data.train_batch_size 1 --data.seed 1 --model.schedule fast --default_root_dir "$results" "$@"

# From here on the checkpoint tells everything: architecture, image size, thresholds. Heatmaps go to
# results/SCDAE/latest/images, the exported model to results/weights/openvino.
anomalib predict --model SCDAE --ckpt_path "$checkpoint" --data "$folder/good" --default_root_dir "$results"
anomalib export --model SCDAE --ckpt_path "$checkpoint" --export_type openvino --default_root_dir "$results"
