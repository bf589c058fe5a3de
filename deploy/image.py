"""repo2docker's settings for the hub's two images: `repo2docker --config deploy/image.py --image-name NAME .`

With CUDA=12.8, or another version, in the environment it builds the one for the GPU.
"""

import os

c = get_config()  # noqa: F821 - repo2docker provides it

c.Repo2Docker.run = False
c.Repo2Docker.user_id = 1000
c.Repo2Docker.user_name = "jovyan"
# Not in the home folder: a student's own volume is mounted over that, and would hide the library.
c.Repo2Docker.target_repo_dir = "/srv/bow2gpt"
c.Repo2Docker.appendix = "RUN ${NB_PYTHON_PREFIX}/bin/pip install --no-cache-dir nbgitpuller\n"
if cuda := os.environ.get("CUDA"):
    install = '${MAMBA_EXE} install --yes --prefix ${NB_PYTHON_PREFIX} "pytorch=*=cuda*"'
    c.Repo2Docker.appendix += f"RUN CONDA_OVERRIDE_CUDA={cuda} {install} && ${{MAMBA_EXE}} clean --all --yes\n"
