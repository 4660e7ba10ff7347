# Runs the stages that dvc.yaml describes, several at a time, here or on a cluster. One rule per stage, same name.
#
#   stages, inputs, outputs, parameters   dvc.yaml
#   which stages are stale                DVC, asked by workflow/dag.py
#   cores, memory, GPUs, time             params/resources.yaml
#   how Snakemake behaves                 profiles/default, slurm
#
# Inputs and outputs of the rules are stamps (.pipeline/); the artefacts are DVC's, so Snakemake never deletes, times
# or checksums them. Run a stage that is up to date once more:  snakemake --forcerun S --config force=1 -- S
import sys

sys.path.insert(0, str(workflow.basedir))
from workflow import dag, job


configfile: "params/resources.yaml"


STAGES = dag.sync() if workflow.is_main_process else dag.cached()


def resources_of(stage):
    return {**config["default"], **config.get(stage["name"].partition("@")[0], {})}


rule all:
    input:
        [f".pipeline/done/{stage['name']}" for stage in STAGES],


for stage in STAGES:

    # Everything of one stage is bound here. `shell` is read when the job runs, so it must not name the loop variable.
    rule:
        name:
            stage["name"]
        input:
            want=f".pipeline/want/{stage['name']}",
            upstream=[f".pipeline/done/{name}" for name in stage["upstream"]],
            sources=[ancient(path) for path in stage["sources"]],
        output:
            touch(f".pipeline/done/{stage['name']}"),
        log:
            job.log_of(stage["name"]),
        benchmark:
            f"work/benchmarks/{stage['name']}.tsv"
        threads: resources_of(stage)["threads"]
        resources:
            **{k: v for k, v in resources_of(stage).items() if k != "threads"},
        params:
            stage=stage["name"],
            options="--force" if config.get("force") else "",
        shell:
            "{sys.executable} -m workflow.job {params.stage} {log} {params.options}"


onerror:
    print(job.failures(), file=sys.stderr)
