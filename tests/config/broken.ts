/** Broken configurations, and every problem that is to be said of each: `line:column: message`. */
import { and, but } from "./kit.ts";

/** The file, then its problems in order. */
export const broken: readonly (readonly [text: string, ...problems: string[]])[] = [
  // The file as a whole
  ["", "1:1: the configuration is empty: it needs at least hostname, state, listen and plugins"],
  ["\n# nothing\n", "1:1: the configuration is empty: it needs at least hostname, state, listen and plugins"],
  ["just text", '1:1: the configuration must be a mapping of keys such as "hostname: mx.example.org"'],
  ["- a\n- b", '1:1: the configuration must be a mapping of keys such as "hostname: mx.example.org"'],
  [
    "hostname: mx.example.org",
    '1:1: missing key "state": the folder for the spool and for what plugins remember, e.g. ./state',
    '1:1: missing key "listen": where mail comes in, e.g. [{ port: 25 }]',
    '1:1: missing key "plugins": what decides about mail, asked in this order, e.g. [relay, maildir]',
  ],
  [
    "hostnme: mx.example.org\nstate: s\nlisten: [{port: 25}]\nplugins: [discard]",
    '1:1: unknown key "hostnme": did you mean "hostname"?',
  ],
  [
    "\ufeffhostnam: x\r\nstate: s\r\nlisten:\r\n  - port: none\r\nplugins: [discard]\r\n",
    '1:1: unknown key "hostnam": did you mean "hostname"?',
    '4:11: "port" must be a whole number, not "none"',
  ],
  // Keys
  [
    and("recipients: 3"),
    '5:1: unknown key "recipients": the keys here are "hostname", "state", "listen", "user", "tls", "limits", "timeouts", "trustedNetworks", "proxies", "plugins", "outbound", "admin", "tracking", "dns" and "log"',
  ],
  [
    and("constructor: 1\ntoString: 2"),
    '5:1: unknown key "constructor": the keys here are "hostname", "state", "listen", "user", "tls", "limits", "timeouts", "trustedNetworks", "proxies", "plugins", "outbound", "admin", "tracking", "dns" and "log"',
    '6:1: unknown key "toString": the keys here are "hostname", "state", "listen", "user", "tls", "limits", "timeouts", "trustedNetworks", "proxies", "plugins", "outbound", "admin", "tracking", "dns" and "log"',
  ],
  [
    and("25: 1"),
    '5:1: unknown key "25": the keys here are "hostname", "state", "listen", "user", "tls", "limits", "timeouts", "trustedNetworks", "proxies", "plugins", "outbound", "admin", "tracking", "dns" and "log"',
  ],
  [
    and("<<: { user: x }"),
    '5:1: unknown key "<<": the keys here are "hostname", "state", "listen", "user", "tls", "limits", "timeouts", "trustedNetworks", "proxies", "plugins", "outbound", "admin", "tracking", "dns" and "log"',
  ],
  [and("'limits': {\"hopz\": 1}"), '5:12: unknown key "hopz": did you mean "hops"?'],
  [and("__proto__: 1"), '5:1: "__proto__" cannot be a key'],
  [and("limits: { hops: 5, hops: 6 }"), '5:20: the key "hops" is given twice in this mapping: remove one'],
  [
    but({ hostname: "hostname: mx.example.org\nhostname: b.example.org" }),
    '2:1: the key "hostname" is given twice in this mapping: remove one',
  ],
  [and("? [a]\n: 1"), "5:3: a key must be plain text"],
  [
    and("outbound: { prot: 25 }\nproxies: { haproxie: [] }\nadmin: { port: 65536 }"),
    '5:13: unknown key "prot": did you mean "port"?',
    '6:12: unknown key "haproxie": did you mean "haproxy"?',
    '7:16: "port" must be at most 65535, not 65536',
  ],
  [
    "proxies: {}",
    '1:1: missing key "hostname": the name this server says in its banner and EHLO, e.g. mx.example.org',
    '1:1: missing key "state": the folder for the spool and for what plugins remember, e.g. ./state',
    '1:1: missing key "listen": where mail comes in, e.g. [{ port: 25 }]',
    '1:1: missing key "plugins": what decides about mail, asked in this order, e.g. [relay, maildir]',
  ],
  [and("dns: { trustAd: maybe }"), '5:17: "trustAd" must be true or false, not "maybe"'],
  [and('dns: { probe: "not a domain" }'), '5:15: "probe": "not a domain" is not a domain such as org'],
  [
    and("outbound: { tlsReports: { from: nobody } }"),
    '5:33: "from": "nobody" is not an address such as tls-reports@example.org',
  ],
  [
    and("outbound: { tlsReports: {} }"),
    '5:25: missing key "from": the address they come from, which the plugin that signs mail must know',
  ],
  // YAML
  [
    and("a: b: c"),
    '5:4: this cannot be one value: put text that holds ": " in quotes, and check how the next lines are indented',
  ],
  [and("user: [x, y"), '5:12: the closing "]" is missing, or not indented enough'],
  [and("user: {x: y"), '5:12: the closing "}" is missing, or not indented enough'],
  [and("log:\n\tlevel: info"), "6:1: a tab cannot indent YAML: use spaces"],
  [and("user: @x"), '5:7: text cannot begin with "@": put it in quotes'],
  [and("user: 'x"), "5:9: the closing ' is missing"],
  [and("user: !secret x"), '5:7: the tag "!secret" means nothing here: remove it'],
  [and("user: !!binary x"), '5:7: the tag "!!binary" means nothing here: remove it'],
  [and("user: *nobody"), '5:7: no "&nobody" stands above this "*nobody"'],
  [and("key\n"), '5:1: a ":" is missing after this key'],
  [and("---\na: 1"), '5:1: a second document begins here: remove the "---"'],
  [and("%YAML 1.1"), '5:1: text cannot begin with "%": put it in quotes'],
  [
    "%YAML 1.1\n---\n" + and("log: { level: no }"),
    '7:15: "level" must be debug, info, warning or error, not "no"',
  ],
  [
    but({ plugins: "plugins:\n  - use: auth\n  with: {}" }),
    "6:1: not YAML: all mapping items must start at the same column",
  ],
  [
    and("user: &x [*x]"),
    '5:10: "user" must be text such as postrider, not a list',
    "5:11: nested more than 64 deep",
  ],
  [
    and("limits: &l { hops: none }\ntimeouts: *l"),
    '5:14: unknown key "hops": the keys here are "command", "data" and "plugin"',
    '5:20: "hops" must be a whole number, not "none"',
  ],
  [
    and("user: " + "[".repeat(100) + "]".repeat(100)),
    '5:7: "user" must be text such as postrider, not a list',
    "5:71: nested more than 64 deep",
  ],
  // hostname, state, user
  [
    but({ hostname: "hostname: mx" }),
    '1:11: "hostname": "mx" is not a full host name: other servers want it with its domain, such as mx.example.org',
  ],
  [
    but({ hostname: "hostname: mx.example.org." }),
    '1:11: "hostname": "mx.example.org." is not a full host name: write it without the dot at its end',
  ],
  [
    but({ hostname: "hostname: 10.0.0.1" }),
    '1:11: "hostname": "10.0.0.1" is not a full host name: write a domain name such as mx.example.org',
  ],
  [
    but({ hostname: "hostname: -x.example.org" }),
    '1:11: "hostname": "-x.example.org" is not a full host name: write a domain name such as mx.example.org',
  ],
  [but({ hostname: "hostname: [mx]" }), '1:11: "hostname" must be text such as mx.example.org, not a list'],
  [but({ hostname: "hostname:" }), '1:1: "hostname" must be text such as mx.example.org, but is empty'],
  [but({ state: "state: ''" }), '2:8: "state": "" is not a path such as users.yaml'],
  [but({ state: "state: 5" }), '2:8: "state" must be text such as ./state, not 5'],
  [and("user: 'a b'"), '5:7: "user" is not the name of a system user such as postrider'],
  [and("user: 1000"), '5:7: "user" must be text such as postrider, not 1000'],
  [and('user: "a\\x1b[31m\\nb"'), '5:7: "user" is not the name of a system user such as postrider'],
  // listen
  [but({ listen: "listen: []" }), '3:9: "listen" must have at least 1 item, but has 0'],
  [but({ listen: "listen: 25" }), '3:9: "listen" must be a list, not 25'],
  [but({ listen: "listen: [25]" }), '3:10: item 1 of "listen" must be a mapping, not 25'],
  [
    but({ listen: "listen:\n  - port:25" }),
    '4:5: item 1 of "listen" must be a mapping, not "port:25": put a space behind the colon',
  ],
  [but({ listen: "listen: [{ port: 70000 }]" }), '3:18: "port" must be at most 65535, not 70000'],
  [but({ listen: "listen: [{ port: -1 }]" }), '3:18: "port" must be at least 0, not -1'],
  [but({ listen: "listen: [{ port: '25' }]" }), '3:18: "port" must be a whole number, not "25"'],
  [
    but({ listen: "listen: [{ port: 25, adress: 127.0.0.1 }]" }),
    '3:22: unknown key "adress": did you mean "address"?',
  ],
  [but({ listen: "listen: [{}]" }), '3:10: item 1 of "listen" needs a "port", or a "path" of a Unix socket'],
  [
    but({ listen: "listen: [{ path: x.sock, port: 25, address: 127.0.0.1, tls: implicit }]" }),
    '3:18: "path" cannot stand beside "port": listen on one of them',
    '3:45: "address" cannot stand beside "path"',
    '3:61: "tls": a Unix socket has no TLS',
  ],
  [
    but({ listen: "listen: [{ port: 25, address: localhost }]" }),
    '3:31: "address": "localhost" is not an IP address such as 127.0.0.1 or ::1',
  ],
  [
    but({ listen: "listen: [{ port: 25, protocol: lmtp }]" }),
    '3:32: "protocol": LMTP must not be spoken on port 25 (RFC 2033 §5)',
  ],
  [
    but({ listen: "listen: [{ path: s, protocol: lmtp, role: submission }]" }),
    '3:43: "role": submission is SMTP, not LMTP',
  ],
  [
    but({ listen: "listen: [{ port: 25 }, { port: 25, address: 127.0.0.1 }]" }),
    '3:24: item 2 of "listen" listens where item 1 listens already: remove one, or give them different addresses',
  ],
  [
    but({
      listen:
        "listen: [{ port: 25, address: 0.0.0.0 }, { port: 25, address: '::1' }, { port: 25, address: 127.0.0.1 }]",
    }),
    '3:72: item 3 of "listen" listens where item 1 listens already: remove one, or give them different addresses',
  ],
  [
    but({ listen: "listen: [{ path: s }, { path: s }]" }),
    '3:23: item 2 of "listen" listens where item 1 listens already: remove one, or give them different addresses',
  ],
  [
    but({ listen: "listen: [{ port: 587, role: submision }]" }),
    '3:29: "role" must be mx or submission, not "submision": did you mean "submission"?',
  ],
  [
    but({ listen: "listen: [{ port: 587, role: submission, allowPlain: true, auth: false }]" }),
    '3:53: "allowPlain": passwords would cross the network unencrypted: only with a loopback address',
    '3:65: "auth": users must log in to submit mail: remove this',
  ],
  [
    but({ listen: "listen: [{ systemd: smtp, port: 25 }, { systemd: 'a b' }]" }),
    '3:33: "port" cannot stand beside "systemd"',
    '3:50: "systemd" is no name of a socket of systemd',
  ],
  [
    but({ listen: "listen: [{ systemd: smtp }, { systemd: smtp }]" }),
    '3:29: item 2 of "listen" listens where item 1 listens already: remove one, or give them different addresses',
  ],
  [
    and("tls: { cert: c.pem, key: k.pem }").replace(
      /^listen:.*$/m,
      "listen: [{ port: 25, clientCertificates: { ca: c.pem, required: true } }, { port: 26, tls: none, clientCertificates: { ca: c.pem } }]",
    ),
    '3:65: "required": with "tls: starttls" a client need not begin TLS at all: add "tls: implicit"',
    '3:118: "clientCertificates": certificates are shown in TLS, which there is none of here',
  ],
  // TLS
  [
    but({ listen: "listen: [{ port: 465, tls: implicit }]" }) + "\nbogus: 1",
    '3:28: implicit TLS needs a certificate: add "tls: { cert: FILE, key: FILE }" to the configuration',
    '5:1: unknown key "bogus": the keys here are "hostname", "state", "listen", "user", "tls", "limits", "timeouts", "trustedNetworks", "proxies", "plugins", "outbound", "admin", "tracking", "dns" and "log"',
  ],
  [
    but({ listen: "listen: [{ port: 587, role: submission }]" }),
    '3:10: warning: nobody can log in here, for AUTH is not offered without TLS: add "tls: { cert: FILE, key: FILE }" to the configuration',
  ],
  [
    but({ listen: "listen: [{ port: 587, role: submission, address: 127.0.0.1 }]" }),
    '3:10: warning: nobody can log in here, for AUTH is not offered without TLS: add "tls: { cert: FILE, key: FILE }" to the configuration, or "allowPlain: true" to this listener',
  ],
  [
    but({ listen: "listen: [{ port: 587, role: submission, tls: none }]" }) +
    "\ntls: { cert: c.pem, key: k.pem }",
    '3:10: warning: nobody can log in here, for AUTH is not offered without TLS: remove "tls: none"',
  ],
  [and("tls: { cert: c.pem }"), '5:6: missing key "key": PEM file of its private key'],
  [
    and("tls: { cert: c.pem, key: c.pem }"),
    '5:26: FOLDER/c.pem holds no PEM text "-----BEGIN PRIVATE KEY-----"',
  ],
  [
    and(
      "tls:\n  - { cert: gone.pem, key: private.pem }\n  - { cert: folder, key: k.pem, names: [a.example] }",
    ),
    "6:13: FOLDER/gone.pem does not exist",
    "6:28: FOLDER/private.pem may not be read by this user",
    "7:13: FOLDER/folder is a folder, not a file",
  ],
  [and("tls: { cert: c.pem, key: k.pem, name: x }"), '5:33: unknown key "name": did you mean "names"?'],
  [and("tls: c.pem"), '5:6: "tls" must be a mapping or a list, not "c.pem"'],
  [and("tls: []"), '5:6: "tls" must have at least 1 item, but has 0'],
  [
    and("tls: [{ cert: c.pem, key: k.pem }, { cert: c.pem, key: k.pem }]"),
    '5:36: item 2 of "tls" needs "names": only the first can do without',
  ],
  [
    and("tls: [{ cert: c.pem, key: k.pem, names: [a.example, A.example] }]"),
    '5:53: item 2 of "names": "a.example" stands here twice',
  ],
  [
    and("tls: [{ cert: c.pem, key: k.pem, names: [b_c.example, '*'] }]"),
    '5:42: item 1 of "names": "b_c.example" is not a host name such as mx.example.org or *.example.org',
    '5:55: item 2 of "names": "*" is not a host name such as mx.example.org or *.example.org',
  ],
  // limits and timeouts
  [and("limits: { recipients: many }"), '5:23: "recipients" must be a whole number, not "many"'],
  [and("limits: { recipients: 0 }"), '5:23: "recipients" must be at least 1, not 0'],
  [and("limits: { recipients: 1.5 }"), '5:23: "recipients" must be a whole number, not 1.5'],
  [and("limits: { recipients: .inf }"), '5:23: "recipients" must be a whole number, not Infinity'],
  [and("limits: { recipient: 5 }"), '5:11: unknown key "recipient": did you mean "recipients"?'],
  [and("limits: { message: 50MB }"), '5:20: "message": "50MB" is not a size such as 64KiB, 25MiB'],
  [and("limits: { message: 50 }"), '5:20: "message" must be text such as 64KiB, 25MiB, not 50'],
  [and("limits: { message: 0B }"), '5:20: "message" must be more than nothing'],
  [and("limits: { message: 999999999GiB }"), '5:20: "message" is more than any disk holds'],
  [
    and("limits: { bareNewlines: normalise }"),
    '5:25: "bareNewlines" must be normalize or reject, not "normalise": did you mean "normalize"?',
  ],
  [and("limits: { bareNewlines: 5 }"), '5:25: "bareNewlines" must be normalize or reject, not 5'],
  [and("limits: [1]"), '5:9: "limits" must be a mapping, not a list'],
  [and("limits:"), '5:1: "limits" must be a mapping, but is empty'],
  [
    and("timeouts: { command: 5 minutes, data: 5, plugin: 0s }"),
    '5:22: "command": "5 minutes" is not a duration such as 30s, 5m, 36h',
    '5:39: "data" must be text such as 30s, 5m, 36h, not 5',
    '5:50: "plugin" must be more than nothing',
  ],
  [and("timeouts: { command: 8d }"), '5:22: "command" must be at most 7d'],
  // trustedNetworks, dns, log
  [and("trustedNetworks: 127.0.0.0/8"), '5:18: "trustedNetworks" must be a list, not "127.0.0.0/8"'],
  [
    and("trustedNetworks: [127.1, 10.0.0.0/33, '::1']"),
    '5:19: item 1 of "trustedNetworks" must be text such as 10.0.0.0/8, 2001:db8::/32, not 127.1',
    '5:26: item 2 of "trustedNetworks": "10.0.0.0/33" is not a network such as 10.0.0.0/8, 2001:db8::/32',
  ],
  [
    and("dns: { servers: ['::1', 'localhost', '1.2.3.4:99999', '[1.2.3.4]:53'] }"),
    '5:25: item 2 of "servers": "localhost" is not an address of a DNS server such as 127.0.0.1:53',
    '5:38: item 3 of "servers": "1.2.3.4:99999" is not an address of a DNS server such as 127.0.0.1:53',
    '5:55: item 4 of "servers": "[1.2.3.4]:53" is not an address of a DNS server such as 127.0.0.1:53',
  ],
  [
    and("log: { level: warn }"),
    '5:15: "level" must be debug, info, warning or error, not "warn": did you mean "warning"?',
  ],
  [
    and("log: { level: verbose, format: JSON }"),
    '5:15: "level" must be debug, info, warning or error, not "verbose"',
    '5:32: "format" must be text or json, not "JSON": did you mean "json"?',
  ],
  [and("log: json"), '5:6: "log" must be a mapping, not "json"'],
  // plugins
  [but({ plugins: "plugins: []" }), '4:10: "plugins" must have at least 1 item, but has 0'],
  [but({ plugins: "plugins:" }), '4:1: "plugins" must be a list, but is empty'],
  [but({ plugins: "plugins: discard" }), '4:10: "plugins" must be a list, not "discard"'],
  [
    but({ plugins: "plugins: [greylist.ts]" }),
    '4:11: item 1 of "plugins": "greylist.ts" is no bundled plugin: write a file of your own as "./greylist.ts"',
  ],
  [
    but({ plugins: "plugins: [Auth, 5, [a]]" }),
    '4:11: item 1 of "plugins": "Auth" is neither the name of a bundled plugin nor a path such as ./greylist.ts',
    '4:17: item 2 of "plugins" must be text or a mapping, not 5',
    '4:20: item 3 of "plugins" must be text or a mapping, not a list',
  ],
  [
    but({ plugins: "plugins:\n  - with: {}" }),
    '5:5: missing key "use": the name of a bundled plugin, or the path of one of your own',
  ],
  [
    but({ plugins: "plugins:\n  - auth:\n      users: x" }),
    '5:5: write "use: auth", and its options below "with:"',
  ],
  [
    but({ plugins: "plugins:\n  - use: auth\n    isolate: { nett: true }\n    onErr: skip" }),
    '6:16: unknown key "nett": did you mean "net"?',
    '7:5: unknown key "onErr": did you mean "onError"?',
  ],
  [
    but({
      plugins:
        "plugins:\n  - use: auth\n    timeout: -5s\n    onError: ignore\n    roles: [mx, submision]\n    observe: yes\n    as: ../x",
    }),
    '6:14: "timeout": "-5s" is not a duration such as 30s, 5m, 36h',
    '7:14: "onError" must be defer, skip or reject, not "ignore"',
    '8:17: item 2 of "roles" must be mx or submission, not "submision": did you mean "submission"?',
    '9:14: "observe" must be true or false, not "yes"',
    '10:9: "as" must be letters, digits, dots, hyphens',
  ],
  [
    but({ plugins: "plugins: [{ use: auth, roles: [] }]" }),
    '4:31: "roles" must have at least 1 item, but has 0',
  ],
  // Variables
  [and("user: ${env:NOBODY}"), "5:7: the environment variable NOBODY is not set"],
  [
    and("user: ${env:NOBODY}${env:NOONE}"),
    "5:7: the environment variable NOBODY is not set",
    "5:7: the environment variable NOONE is not set",
  ],
  [and("user: ${env:a b}"), '5:7: "${env:a b}" does not name a variable: write "${env:NAME}"'],
  [and("user: ${env:SECRET}"), '5:7: "user" is not the name of a system user such as postrider'],
  [
    and('timeouts: { command: "${env:SECRET}" }'),
    '5:22: "command": "${env:SECRET}" is not a duration such as 30s, 5m, 36h',
  ],
  [and('limits: { hops: "${env:SECRET}" }'), '5:17: "hops" must be a whole number, not "${env:SECRET}"'],
  [
    and("limits: { recipients: ${env:NUMBER} }"),
    '5:24: between { } or [ ], a variable stands in quotes: "${env:NAME}"',
  ],
];
