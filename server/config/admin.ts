/** The configuration's `admin:`: where those who watch the server may ask it. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { z } from "zod";

const address = z.string().meta({ examples: ["127.0.0.1", "::1"] }).default("127.0.0.1")
  .transform((text, context) => {
    if (isIP(text) && !text.includes("%")) return ipaddr.parse(text).toString();
    context.addIssue({ code: "custom", message: `"${text}" is not an IP address such as 127.0.0.1 or ::1` });
    return z.NEVER;
  });

/** The schema of `admin:`; absent, nobody is answered. */
export const admin = z.strictObject({
  address: address.describe(
    "the IP address to listen on; whoever can reach it is answered, without a password",
  ),
  port: z.int().min(0).max(65_535).default(9090).describe("TCP port; 0 takes any free one"),
}).optional();

/** `admin:`, checked. */
export type Admin = NonNullable<z.output<typeof admin>>;
