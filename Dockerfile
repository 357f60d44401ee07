# The command line on a CPU:
#   docker build -t dcase-asd .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" dcase-asd fit recordings/normal --out fan.asd
FROM python:3.11-slim AS wheel
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
COPY constraints.txt /tmp/
COPY --from=wheel /wheels /tmp/wheels
# torch of the second index is built for the CPU, without several GB for GPUs.
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu "$(ls /tmp/wheels/*.whl)[onnx]"
RUN useradd --create-home listener
USER listener
# With --user there is no home that could be written to.
ENV MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /data
ENTRYPOINT ["dcase-asd"]
CMD ["--help"]
