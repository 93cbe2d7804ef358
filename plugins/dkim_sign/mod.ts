/** Signs mail of our users, our machines and the server's own by DKIM (RFC 6376, 8463), by the domain in `From`. */
import addressparser from "nodemailer/lib/addressparser/index.js";
import { domainToASCII } from "node:url";
import { cidr, definePlugin, type Session, z } from "../../server/plugin.ts";
import { keyOption, openSigner, type Signer } from "../authentication/keys.ts";
import { loadSigning } from "../authentication/mailauth.ts";
import { hasAuthor, signable, signMessage } from "../authentication/signature.ts";

/** The plugin `dkim-sign`. */
export default definePlugin({
  name: "dkim-sign",
  options: z.object({
    keys: z.array(keyOption).min(1, "there is nothing to sign with: name a key")
      .describe(
        "All keys of the domain in From sign; a subdomain without keys of its own is signed for by the one above",
      ),
    networks: z.array(cidr()).default([])
      .describe("Clients whose mail is signed without logging in, besides `trustedNetworks`"),
  }),
  async setup(on, { keys, networks }, host) {
    const tools = await loadSigning();
    const byDomain = new Map<string, Signer[]>();
    for (const option of keys) {
      const { domain, selector } = option;
      const others = byDomain.get(domain) ?? [];
      if (others.some((other) => other.selector === selector)) {
        throw new Error(
          `${selector}._domainkey.${domain} stands in \`keys\` twice: each key has a selector of its own`,
        );
      }
      byDomain.set(domain, [...others, await openSigner(option, host)]);
    }

    // A stranger who writes in our name is not to get our signature, wherever his mail is forwarded.
    const isOurs = ({ user, trusted, protocol, remote }: Session) =>
      user !== undefined || trusted || protocol === "internal" ||
      networks.some((network) => network.has(remote.address));

    on("data", async (session, message) => {
      if (!isOurs(session)) return;
      const signers = signersFor(message.headers.all("From"), byDomain);
      if (signers.length === 0) return;
      const content = await signable(message);
      if (!hasAuthor(content)) return;
      const how = { now: host.clock.now() };
      const made = await Promise.all(signers.map((signer) => signMessage(content, signer, how, tools)));
      // The first of the list ends on top.
      for (const { name, value } of made.reverse()) message.prependHeader(name, value);
    });
  },
});

/** Characters of a `From` field that is taken apart. */
const longestField = 8192;

/** The keys of the author's domain, else of the nearest one above it. */
function signersFor(
  fields: readonly string[],
  byDomain: ReadonlyMap<string, readonly Signer[]>,
): readonly Signer[] {
  if (fields.length !== 1 || fields[0]!.length > longestField) return [];
  const [author] = addressparser(fields[0]!, { flatten: true });
  const address = author?.address ?? "";
  const domain = domainToASCII(address.slice(address.lastIndexOf("@") + 1));
  for (let name = domain; name !== ""; name = name.includes(".") ? name.slice(name.indexOf(".") + 1) : "") {
    const signers = byDomain.get(name);
    if (signers) return signers;
  }
  return [];
}
