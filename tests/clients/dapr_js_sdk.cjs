// Drives every workflow call of the published SDK over HTTP against the server at ARGV[2], a port. Prints one JSON
// object: what each call gave. Node finds the SDK through NODE_PATH.
"use strict";
const { DaprClient, CommunicationProtocolEnum } = require("@dapr/dapr");

const quiet = { log() {}, info() {}, warn() {}, error() {}, verbose() {}, debug() {} };
// The SDK throws an Error whose message is JSON: {error, error_msg, status}.
const refusal = (promise) =>
  promise.then(
    () => null,
    (error) => JSON.parse(error.message),
  );

const until = async (workflow, id, status) => {
  for (;;) {
    const found = await workflow.get(id);
    if (found.runtimeStatus === status) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

const main = async () => {
  const client = new DaprClient({
    daprHost: "127.0.0.1",
    daprPort: process.argv[2],
    daprApiToken: "s3cret",
    communicationProtocol: CommunicationProtocolEnum.HTTP,
    logger: { level: "error", service: quiet },
  });
  const { workflow } = client;
  const seen = {};
  seen.isHealthy = await client.health.isHealthy();
  seen.set = [await client.metadata.set("colour", "blue"), await client.metadata.set("nothing", "")];
  seen.metadata = await client.metadata.get();

  seen.started = await workflow.start("shop:approval", { order: 17 }, "js-1");
  seen.running = await until(workflow, "js-1", "RUNNING");
  seen.twice = await refusal(workflow.start("shop:approval", {}, "js-1"));
  await workflow.pause("js-1");
  seen.paused = await until(workflow, "js-1", "SUSPENDED");
  await workflow.raise("js-1", "Approve", { by: "lin" });
  await workflow.resume("js-1");
  seen.completed = await until(workflow, "js-1", "COMPLETED");

  const own = await workflow.start("shop:approval");
  seen.own = own;
  await until(workflow, own, "RUNNING");
  seen.early = await refusal(workflow.purge(own));
  await workflow.terminate(own);
  seen.terminated = await until(workflow, own, "TERMINATED");
  await workflow.purge(own);
  seen.gone = await refusal(workflow.get(own));
  seen.missing = await refusal(workflow.raise(own, "Approve", "text"));

  seen.text = await workflow.start("shop:approval", "plain text", "js-2", { contentType: "text/plain" });
  seen.textInput = await until(workflow, "js-2", "RUNNING");
  seen.unknown = await workflow.start("nobody", { a: 1 }, "js-3");
  seen.failed = await until(workflow, "js-3", "FAILED");
  seen.badId = await refusal(workflow.start("shop:approval", {}, "a.b"));
  process.stdout.write(JSON.stringify(seen));
  process.exit(0); // its agents keep connections alive
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
