# pc3d on a CPU. Build it in the folder of the checkout:
#   docker build -f docker/cpu.Dockerfile -t pc3d:cpu --build-arg TORCH_INDEX=ADDRESS .
# ADDRESS: where PyTorch's page has its builds for the CPU; without it the image holds those for CUDA.
#   docker run --rm --shm-size=8g -v /data:/data -v $PWD/runs:/runs pc3d:cpu pretrain sim_slidr --data /data/drives
FROM python:3.11-slim-bookworm
ARG TORCH_INDEX=
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libegl1 libx11-6 libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN TORCH_INDEX=$TORCH_INDEX /src/docker/install.sh /opt/pc3d && /opt/pc3d/bin/pc3d --version
ENV PATH=/opt/pc3d/bin:$PATH EGL_PLATFORM=surfaceless OMP_WAIT_POLICY=PASSIVE
WORKDIR /runs
ENTRYPOINT ["pc3d"]
CMD ["--help"]
