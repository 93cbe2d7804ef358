/** The application: takes posts, believes none that isn't signed, and says what came. deno run -A examples/webhook/receiver.ts */
import { createHmac, timingSafeEqual } from "node:crypto";

const secret = (await Deno.readTextFile(new URL("webhook.secret", import.meta.url))).trim();
const port = Number(Deno.env.get("PORT") ?? 8025);
/** What was taken already: a post can come twice. In earnest, keep it where the mail is kept. */
const taken = new Set<string>();

Deno.serve({ port, hostname: "127.0.0.1", onListen: () => console.log("listening") }, async (request) => {
  const body = await request.text();
  const id = request.headers.get("webhook-id") ?? "";
  const time = request.headers.get("webhook-timestamp") ?? "";
  const isOld = Math.abs(Date.now() / 1000 - Number(time)) > 300;
  const wanted = createHmac("sha256", secret).update(`${id}.${time}.${body}`).digest("base64");
  const isOurs = (request.headers.get("webhook-signature") ?? "").split(" ").some((given) => {
    const [version, signature = ""] = given.split(",");
    const [a, b] = [new TextEncoder().encode(signature), new TextEncoder().encode(wanted)];
    return version === "v1" && a.length === b.length && timingSafeEqual(a, b);
  });
  if (isOld || !isOurs) return new Response("not signed by us\n", { status: 401 });
  if (taken.has(id)) return new Response("taken already\n");
  taken.add(id);
  const posted = JSON.parse(body);
  if (new URL(request.url).pathname === "/mail") {
    console.log(`${posted.envelope.from} → ${posted.envelope.to}: ${posted.subject}`);
  } else console.log(JSON.stringify(posted));
  return new Response("thank you\n");
});
