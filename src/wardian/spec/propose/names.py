"""What conda calls things that PyPI or Debian call otherwise."""

# conda-forge's name → PyPI's, where they differ.
PYPI = {
    "dask-core": "dask", "faiss": "faiss-cpu", "gym-box2d": "gymnasium[box2d]", "gymnasium-all": "gymnasium[all]",
    "gymnasium-atari": "gymnasium[atari]", "gymnasium-box2d": "gymnasium[box2d]",
    "gymnasium-mujoco": "gymnasium[mujoco]", "importlib_metadata": "importlib-metadata",
    "matplotlib-base": "matplotlib", "msgpack-python": "msgpack", "mujoco-python": "mujoco",
    "opencv": "opencv-python-headless", "py-opencv": "opencv-python-headless", "pyqt": "PyQt5", "pytables": "tables",
    "python-graphviz": "graphviz", "python-kaleido": "kaleido", "pytorch": "torch", "pytorch-cpu": "torch",
    "pytorch-gpu": "torch", "ray-core": "ray", "ray-default": "ray[default]", "ray-rllib": "ray[rllib]",
    "ray-tune": "ray[tune]", "tensorflow-gpu": "tensorflow", "typing_extensions": "typing-extensions",
}  # fmt: skip
# Names that are the same on both.
SAME = frozenset(
    """
    absl-py accelerate aiohttp ale-py antlr4-python3-runtime attrs autopep8 bitsandbytes black bokeh boto3 box2d-py
    build cachetools cffi chex click cloudpickle colorama configargparse coverage cython dask datasets deepdiff
    deepspeed dill dm-control dm-tree docker einops evaluate faiss-cpu fastapi filelock flake8 flask flax fsspec
    gdown gitpython gputil graphviz grpcio gym gymnasium h5py haiku hatch httpx huggingface_hub hydra-core
    hypothesis imageio imageio-ffmpeg iprogress ipykernel ipython ipywidgets isort jax jaxlib jinja2 joblib
    jsonschema jupyter jupyterlab lightning llvmlite loguru lxml markdown matplotlib minigrid mlflow moviepy mpi4py
    mpmath msgpack mypy natsort networkx nltk notebook numba numexpr numpy omegaconf onnx onnxruntime optax optuna
    orjson packaging pandas peft pettingzoo pillow platformdirs plotly portalocker pre-commit protobuf psutil
    pyarrow pybind11 pybullet pycocotools pydantic pygame pyglet pylint pynvml pyopengl pytest pytest-cov
    pytest-xdist python-dateutil python-dotenv pytorch-lightning pytz pyvirtualdisplay pyyaml pyzmq ray regex
    requests rich ruff sacred safetensors scikit-image scikit-learn scikit-video scipy seaborn sentencepiece
    setuptools shapely six stable-baselines3 statsmodels supersuit sympy tabulate tensorboard tensorboardx
    tensordict tensorflow tensorflow-cpu tensorstore termcolor tianshou tiktoken timm tokenizers toml tomli
    torchaudio torchmetrics torchrl torchvision tornado tqdm transformers trimesh triton trl typer ujson uvicorn
    verl virtualenv wandb werkzeug wheel xarray yapf zarr zstandard
    """.split()  # noqa: SIM905 - quoted words would be harder to read
)
# conda-forge's name → Debian's packages.
APT = {
    "boost": ("libboost-all-dev",), "boost-cpp": ("libboost-all-dev",), "c-compiler": ("gcc", "libc6-dev"),
    "cmake": ("cmake",), "compilers": ("gcc", "g++", "gfortran"), "curl": ("curl",), "cxx-compiler": ("g++",),
    "eigen": ("libeigen3-dev",), "ffmpeg": ("ffmpeg",), "gcc": ("gcc", "libc6-dev"),
    "gcc_linux-64": ("gcc", "libc6-dev"), "gfortran": ("gfortran",), "git": ("git",), "git-lfs": ("git-lfs",),
    "glew": ("libglew-dev",), "glfw": ("libglfw3",), "gxx": ("g++",), "gxx_linux-64": ("g++",),
    "hdf5": ("libhdf5-dev",), "htop": ("htop",), "libsndfile": ("libsndfile1",), "make": ("make",),
    "mesalib": ("libgl1", "libosmesa6"), "mpich": ("mpich",), "ninja": ("ninja-build",), "nodejs": ("nodejs",),
    "openjdk": ("default-jre-headless",), "openmpi": ("openmpi-bin",), "patchelf": ("patchelf",),
    "pkg-config": ("pkg-config",), "rsync": ("rsync",), "sox": ("sox",), "swig": ("swig",), "tmux": ("tmux",),
    "unzip": ("unzip",), "vim": ("vim",), "wget": ("wget",), "zip": ("zip",),
}  # fmt: skip
# What comes with Debian's Python and with wheels, so that nothing has to be written for it.
BESIDE = frozenset(
    """
    _libgcc_mutex _openmp_mutex blas bzip2 ca-certificates certifi expat intel-openmp ld_impl_linux-64 libblas libcblas
    libffi libgcc libgcc-ng libgfortran-ng libgfortran5 libgomp liblapack libnsl libopenblas libsqlite libstdcxx
    libstdcxx-ng libuuid libxcrypt libzlib mkl mkl-service mkl_fft mkl_random ncurses nomkl openblas openssl pip
    python_abi readline sqlite tk tzdata xz zlib
    """.split()  # noqa: SIM905 - as above
)
CUDA = ("cuda", "cudnn", "nccl", "libcu", "libnpp", "libnv", "pytorch-mutex", "cudatoolkit")
