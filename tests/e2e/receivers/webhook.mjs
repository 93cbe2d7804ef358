// A receiver as somebody would write it with Node alone: checks the signature by itself, and says on its output what came.
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer as createPlain } from "node:http";
import { createServer as createSecure } from "node:https";

const [secret, cert, key, port = "0"] = process.argv.slice(2);

function answer(request, response) {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces);
    const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": given = "" } =
      request.headers;
    const wanted = createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body).digest();
    const is = given.split(" ").some((one) => {
      const signature = Buffer.from(one.replace(/^v1,/, ""), "base64");
      return signature.length === wanted.length && timingSafeEqual(signature, wanted);
    });
    const fresh = Math.abs(Date.now() / 1000 - Number(timestamp)) < 300;
    response.writeHead(is && fresh ? 202 : 401).end();
    const { "content-type": type, "content-length": length, "transfer-encoding": coding } = request.headers;
    console.log(JSON.stringify({
      ...{ id, is, fresh, type, length, coding, size: body.length },
      ...(type === "application/json" && { json: JSON.parse(body.toString("utf8")) }),
    }));
  });
}

const server = cert
  ? createSecure({ cert: readFileSync(cert), key: readFileSync(key) }, answer)
  : createPlain(answer);
server.listen(Number(port), "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
