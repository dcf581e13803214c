# pc3d on NVIDIA GPUs. Build it in the folder of the checkout:
#   docker build -f docker/cuda.Dockerfile -t pc3d:cuda .
#   docker run --rm --gpus all --shm-size=32g -v /data:/data -v $PWD/runs:/runs pc3d:cuda doctor
# torch and spconv bring their CUDA libraries; the machine needs a driver for CUDA 13 and the container toolkit.
# gcc: Triton compiles what starts a kernel.
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libegl1 libx11-6 libgomp1 gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN /src/docker/install.sh /opt/pc3d && /opt/pc3d/bin/pc3d --version
ENV PATH=/opt/pc3d/bin:$PATH EGL_PLATFORM=surfaceless OMP_WAIT_POLICY=PASSIVE
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
WORKDIR /runs
ENTRYPOINT ["pc3d"]
CMD ["--help"]
