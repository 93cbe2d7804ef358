/**
 * The bundled plugins, by name. The specifiers are literals, since only those are found by `deno compile` and by
 * bundlers; a plugin is imported when a configuration names it.
 */
export const bundled: Readonly<Record<string, () => Promise<{ readonly default: unknown }>>> = {
  aliases: () => import("../plugins/aliases/mod.ts"),
  arc: () => import("../plugins/arc/mod.ts"),
  attachments: () => import("../plugins/attachments/mod.ts"),
  auth: () => import("../plugins/auth/mod.ts"),
  clamav: () => import("../plugins/clamav/mod.ts"),
  discard: () => import("../plugins/discard.ts"),
  dkim: () => import("../plugins/dkim.ts"),
  "dkim-sign": () => import("../plugins/dkim_sign/mod.ts"),
  dmarc: () => import("../plugins/dmarc/mod.ts"),
  dnsbl: () => import("../plugins/dnsbl/mod.ts"),
  earlytalker: () => import("../plugins/earlytalker.ts"),
  fcrdns: () => import("../plugins/fcrdns.ts"),
  greylist: () => import("../plugins/greylist.ts"),
  helo: () => import("../plugins/helo.ts"),
  limits: () => import("../plugins/limits/mod.ts"),
  etrn: () => import("../plugins/etrn.ts"),
  forward: () => import("../plugins/forward/mod.ts"),
  lmtp: () => import("../plugins/lmtp.ts"),
  maildir: () => import("../plugins/maildir/mod.ts"),
  milter: () => import("../plugins/milter/mod.ts"),
  proxy: () => import("../plugins/proxy.ts"),
  pipe: () => import("../plugins/pipe/mod.ts"),
  recipients: () => import("../plugins/recipients/mod.ts"),
  relay: () => import("../plugins/relay.ts"),
  rspamd: () => import("../plugins/rspamd/mod.ts"),
  spamassassin: () => import("../plugins/spamassassin/mod.ts"),
  spf: () => import("../plugins/spf.ts"),
  tarpit: () => import("../plugins/tarpit.ts"),
};
