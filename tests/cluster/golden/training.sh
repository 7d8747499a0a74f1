#!/bin/bash
#SBATCH --job-name=base_photos
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=9
#SBATCH --mem=128G
#SBATCH --time=1-00:00:00
#SBATCH --partition=long
#SBATCH --account=codecs
#SBATCH --signal=USR1@120
#SBATCH --chdir=/home/me/codec
#SBATCH "--output=/home/me/codec/runs/base photos/slurm/%j.log"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --qos=high
#SBATCH "--comment=two words"

# srun does not take this one over from sbatch.
export SRUN_CPUS_PER_TASK=9
program=(
    /opt/codec/bin/python
    -m
    lightning_codec
)
logs='/home/me/codec/runs/base photos/slurm'
arguments=(
    --config
    configs/experiment/base_photos.yaml
    --data.train_folders
    '[my photos/a, b]'
    --trainer.accelerator=gpu
    --trainer.num_nodes=2
    --trainer.devices=4
)

# On every node, before anything waits for another: what would make the training hang.
srun "${program[@]}" preflight "${arguments[@]}" || exit

# A task that fails ends the others, which would wait for it. When Slurm says that the time is nearly up, the training
# writes a checkpoint and puts this job back into the queue; the same command then goes on with the same run.
step=(srun --kill-on-bad-exit=1 --open-mode=append --output="$logs/%j-rank%t.log")
"${step[@]}" "${program[@]}" fit "${arguments[@]}"
code=$?
exit "$code"
