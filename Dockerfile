# `docker build -t rackmodel . && docker run --rm rackmodel` compares three machines; any other command:
# `docker run --rm -v "$PWD:/work" rackmodel simulate dgx-h100 --model gpt3-13b --gpus 16 --global-batch 32`.
# The local page answers the loopback alone: `docker run --rm --network host rackmodel app --no-browser`.
FROM python:3.12-slim AS build
COPY . /source
RUN pip install --no-cache-dir --prefix=/install "/source[app,fast]"

FROM python:3.12-slim
COPY --from=build /install /usr/local
RUN useradd --create-home rackmodel && mkdir /work && chown rackmodel /work
USER rackmodel
WORKDIR /work
ENTRYPOINT ["rackmodel"]
CMD ["compare", "gb200-nvl72", "dgx-h100", "dgx-b200", "--model", "gpt3-175b", "--gpus", "1024", "--global-batch", "2048", "--seq-len", "2048"]
