#!/bin/sh
# Makes the certificates of this folder again, all of them, in the folder it stands in. Their keys are public: for these tests only.
set -e
cd "$(dirname "$0")"
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
days="-days 36500"

# root NAME SUBJECT: a self-signed authority.
root() {
  openssl req -x509 $key $days -keyout "$1.key" -out "$1.pem" -subj "/CN=$2" -addext basicConstraints=critical,CA:TRUE
}
# issued NAME SUBJECT ISSUER EXTENSIONS [OPTIONS]: by another; without extensions it is of X.509 version 1.
issued() {
  openssl req $key -keyout "$1.key" -out csr -subj "/CN=$2"
  printf '%b' "$4" >extensions
  openssl x509 -req -in csr -CA "$3.pem" -CAkey "$3.key" -set_serial "0x$(openssl rand -hex 8)" -out "$1.pem" \
    ${5:-$days} $([ -n "$4" ] && echo -extfile extensions)
}
authority='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign'
server='subjectAltName=DNS:mx.example.test\nextendedKeyUsage=serverAuth'

root authority 'Test Authority'
issued intermediate 'Test Intermediate' authority "$authority,cRLSign"
issued server mx.example.test intermediate "$server"
issued expired mx.example.test intermediate "$server" '-days -1'
issued client mx.example.test intermediate 'subjectAltName=DNS:mx.example.test\nextendedKeyUsage=clientAuth'
# An authority that may issue to hosts only, and did otherwise.
issued narrow 'Test Narrow' authority "$(echo "$authority" | sed 's/CA:TRUE/CA:TRUE,pathlen:0/')"
issued below-narrow 'Test Below' narrow "$authority"
issued by-below-narrow mx.example.test below-narrow "$server"
# By a host, which is no authority.
issued by-server mx.example.test server "$server"
# Limited to another domain.
issued limited 'Test Limited' authority "$authority\nnameConstraints=critical,permitted;DNS:example.org"
issued by-limited mx.example.test limited "$server"
# By someone who only calls himself like the authority, with version 3, and with version 1.
root forger 'Test Authority'
issued forged mx.example.test forger "$server"
issued forged-v1 mx.example.test forger ''
issued forged-policy-host mta-sts.example.test forger ''
# What an MTA-STS policy is fetched from.
issued policy-host mta-sts.example.test intermediate 'subjectAltName=DNS:mta-sts.example.test'

cat server.pem intermediate.pem >server.chain.pem
cat policy-host.pem intermediate.pem >policy-host.chain.pem
cat expired.pem intermediate.pem >expired.chain.pem
cat by-below-narrow.pem below-narrow.pem narrow.pem >by-below-narrow.chain.pem
rm -f csr extensions forger.pem ./*.srl
for name in authority intermediate expired client narrow below-narrow by-below-narrow by-server limited by-limited forger forged; do
  [ "$name" = expired ] || rm -f "$name.key"
done
