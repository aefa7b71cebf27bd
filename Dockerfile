# The demo in a container, without a GPU; the report is out/RUN/audits/report.html then:
#   docker build --tag fleet . && mkdir -p out
#   docker run --rm --user "$(id -u)" --volume "$PWD/out:/home/fleet/runs" fleet
# Any other command: docker run --rm fleet audit --help
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 fleet
WORKDIR /home/fleet

# torch without CUDA: 200 MB in the place of 2.5 GB. pyproject.toml has the bounds of versions.
# hadolint ignore=DL3013
RUN python -m pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY pyproject.toml README.md LICENSE /source/
COPY fleet /source/fleet
RUN python -m pip install --no-cache-dir "/source[train]"

COPY examples/data examples/data
# Whoever `--user` names may write here: a directory of the host keeps its owner.
RUN mkdir runs && chmod 777 . runs
USER 1000
ENV HOME=/home/fleet USER=fleet OMP_NUM_THREADS=1

ENTRYPOINT ["fleet"]
CMD ["demo"]
