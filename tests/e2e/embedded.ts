/** A server in a program of its own kind: `deno run -A embedded.ts POLICY-PORT serve --config FILE`, until SIGTERM. */
import { Server } from "../../mod.ts";

const [port, , , file] = Deno.args;
const server = await Server.start(file!, { mtaStsPort: Number(port) });
Deno.addSignalListener("SIGTERM", () => void server.stop().then(() => Deno.exit(0)));
