"""A real Slurm of two nodes on this machine, from Debian's packages, with two GPUs each that are there in name only.

Everything but two links in /etc/slurm lies in a temporary folder and ends with the test.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ETC = Path("/etc/slurm")  # jobs are given no other place: Snakemake's executor drops SLURM_CONF
PROGRAMS = ("sbatch", "srun", "slurmctld", "slurmd", "munged", "setpriv")
INSTALL = (
    ["apt-get", "-qq", "update"],
    ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"],
)
NODES = ("n1", "n2")
CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
MinJobAge=86400
KillWait=120
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=16000 Gres=gpu:2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=16000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Impossible(Exception):
    """Why there can be no Slurm here."""


def install() -> None:
    """Debian's packages, if they are not there and can be had."""
    if os.geteuid():
        raise Impossible("a Slurm of our own needs root")
    conf = ETC / "slurm.conf"
    if conf.is_file() and not conf.is_symlink():
        raise Impossible(f"this machine belongs to a cluster ({conf})")
    if all(map(shutil.which, PROGRAMS)):
        return
    if not shutil.which("apt-get"):
        raise Impossible("no Slurm here, and no apt-get to install it with")
    for command in INSTALL:
        try:
            done = subprocess.run(
                command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, timeout=120, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Impossible(f"no Slurm here, and `{' '.join(command)}` takes longer than 120 s") from None
        if done.returncode:
            last = (done.stdout.strip() or "nothing was said").splitlines()[-1]
            raise Impossible(f"no Slurm here, and `{' '.join(command)}` fails: {last}")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as all_open:
        sockets = [all_open.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def write(folder: Path) -> None:
    folder.chmod(0o755)  # else munged refuses
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, host=socket.gethostname(), ports=free_ports(3)))
    try:
        for number in range(4):
            os.mknod(folder / f"gpu{number}", 0o20600, os.makedev(1, 3))  # Slurm wants devices: those of /dev/null
    except PermissionError as error:
        raise Impossible(f"devices cannot be made here ({error})") from None
    (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={folder}/gpu[0-3] Flags=nvidia_gpu_env\n")
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    (folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v{2 if unified else 1}\n")


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Inside, sbatch and srun are answered. One at a time on a machine."""
    install()
    ETC.mkdir(exist_ok=True)
    with (
        (Path(tempfile.gettempdir()) / "scantling-slurm.lock").open("w") as turn,
        tempfile.TemporaryDirectory(prefix="slurm") as name,  # short: the path of a socket has 107 characters at most
        contextlib.ExitStack() as at_end,
    ):
        fcntl.flock(turn, fcntl.LOCK_EX)
        folder = Path(name)
        write(folder)
        for file in ("slurm.conf", "gres.conf", "cgroup.conf"):
            (ETC / file).unlink(missing_ok=True)  # of a test that was killed
            (ETC / file).symlink_to(folder / file)
            at_end.callback((ETC / file).unlink, missing_ok=True)
        here = {what: f"--{what}-file={folder}/munge.{what}" for what in ("key", "log", "pid", "seed")}
        daemons = [["munged", "-F", f"--socket={folder}/munge.socket", *here.values()], ["slurmctld", "-D"]]
        for number, words in enumerate([*daemons, *(["slurmd", "-D", "-N", node] for node in NODES)]):
            said = at_end.enter_context((folder / f"{words[0]}{number}.log").open("w"))
            started = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *words], stdout=said, stderr=said, start_new_session=True
            )
            at_end.callback(end, started)
            if words[0] == "munged":
                wait_for(folder, lambda: (folder / "munge.socket").exists())
        wait_for(folder, lambda: ask("sinfo", "--noheader", "--format=%D %t") == "2 idle")
        at_end.callback(ask, "scancel", "--signal=KILL", "--full", "--user=root")
        yield


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()


def wait_for(folder: Path, condition: object) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    said = [f"{log.name}: {line}" for log in folder.glob("*.log") for line in log.read_text().splitlines()[-2:]]
    raise Impossible(f"Slurm does not start here: {'; '.join(said)}")
