# Runs the stages that dvc.yaml describes, several at a time, here or on a cluster. One rule per stage, same name.
#
#   stages, inputs, outputs, parameters   dvc.yaml
#   which stages are stale                DVC, asked by workflow/dag.py
#   cores, memory, GPUs, nodes, time      params/resources.yaml
#   how Snakemake behaves                 profiles/default, slurm
#
# A report by Snakemake itself:  snakemake --cores 1 pages  and then  snakemake --cores 1 pages --report study.html
#
# Inputs and outputs of the rules are stamps (.pipeline/); the artefacts are DVC's, so Snakemake never deletes, times
# or checksums them. Run a stage that is up to date once more:  snakemake --forcerun S --config force=1 -- S
import sys

sys.path.insert(0, str(workflow.basedir))
from scantling.params import ParamsError
from workflow import dag, job, pages, resources


configfile: "params/resources.yaml"


report: "workflow/report/workflow.rst"


STAGES = dag.sync() if workflow.is_main_process else dag.cached()
STUDIES = [
    s["name"].partition("@")[2] for s in STAGES if s["name"].startswith("report@")
]
if workflow.is_main_process:
    for study in STUDIES:
        pages.forget_old(study)


try:
    GIVEN = {stage["name"]: resources.of(stage["name"], config) for stage in STAGES}
except ParamsError as error:
    raise SystemExit(str(error)) from None


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
        threads: GIVEN[stage["name"]].threads
        resources:
            **GIVEN[stage["name"]].for_snakemake(),
        params:
            stage=stage["name"],
            gpu=GIVEN[stage["name"]].gpu,
            nodes=GIVEN[stage["name"]].nodes,
            options="--force" if config.get("force") else "",
        shell:
            "{sys.executable:q} -m workflow.job {params.stage} {log} {params.gpu} {params.nodes} {params.options}"


rule pages:
    input:
        rules.all.input,  # else copies that are there would tell Snakemake that no stage before them has to run
        expand(f"{pages.place('{study}')}/summary.csv", study=STUDIES),


rule page:
    input:
        ".pipeline/done/report@{study}",
    output:
        report(
            ".pipeline/pages/{study}/summary.csv",
            caption="workflow/report/summary.rst",
            category="Tables",
            labels={"study": "{study}", "table": "runs"},
        ),
        report(
            ".pipeline/pages/{study}/classes.csv",
            caption="workflow/report/classes.rst",
            category="Tables",
            labels={"study": "{study}", "table": "classes"},
        ),
        report(
            directory(".pipeline/pages/{study}/figures"),
            caption="workflow/report/figures.rst",
            category="Charts",
            patterns=["{chart}.svg"],
            labels={"study": "{study}", "chart": "{chart}"},
        ),
    log:
        "logs/snakemake/page@{study}.log",
    localrule: True
    shell:
        "{sys.executable:q} -m workflow.pages {wildcards.study} 2> {log}"


onerror:
    print(job.failures(), file=sys.stderr)
