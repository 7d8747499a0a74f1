#!/bin/bash
#SBATCH --job-name=rates
#SBATCH --array=0,2,3
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --signal=USR1@90
#SBATCH --chdir=/home/me/codec
#SBATCH --output=/home/me/codec/sweeps/rates/slurm/%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue

# srun does not take this one over from sbatch.
export SRUN_CPUS_PER_TASK=1
program=(
    /opt/codec/bin/python
    -m
    lightning_codec
)
case "$SLURM_ARRAY_TASK_ID" in
    0) member=lmbda=0.0035,seed_everything=0; settings=(--model.init_args.lmbda=0.0035 --seed_everything=0) ;;
    1) member=lmbda=0.0035,seed_everything=1; settings=(--model.init_args.lmbda=0.0035 --seed_everything=1) ;;
    2) member=lmbda=0.013,seed_everything=0; settings=(--model.init_args.lmbda=0.013 --seed_everything=0) ;;
    3) member=lmbda=0.013,seed_everything=1; settings=(--model.init_args.lmbda=0.013 --seed_everything=1) ;;
esac
folder=/home/me/codec/sweeps/rates/"$member"
logs="$folder/slurm"
mkdir -p "$logs"
arguments=(
    --config
    configs/experiment/base_photos.yaml
    --data.train_folders
    '[my photos/a, b]'
    --trainer.accelerator=cpu
    --trainer.num_nodes=2
    --trainer.devices=1
    "${settings[@]}"
    --trainer.default_root_dir="$folder"
)

# On every node, before anything waits for another: what would make the training hang.
srun "${program[@]}" preflight "${arguments[@]}" || exit

# A task that fails ends the others, which would wait for it. When Slurm says that the time is nearly up, the training
# writes a checkpoint and puts this job back into the queue; the same command then goes on with the same run.
step=(srun --kill-on-bad-exit=1 --open-mode=append --output="$logs/%j-rank%t.log")
"${step[@]}" "${program[@]}" fit "${arguments[@]}"
code=$?

if [ "$code" -eq 0 ]; then
    run=$(ls -d "$folder"/version_* | sort -V | tail -n 1)
    "${step[@]}" "${program[@]}" test "${arguments[@]}" \
        --ckpt_path="$run/checkpoints/last.ckpt" --trainer.default_root_dir="$folder/test"
    code=$?
fi
if [ "$code" -eq 0 ]; then
    touch "$folder/FINISHED"
fi
exit "$code"
