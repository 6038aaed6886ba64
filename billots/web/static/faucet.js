// The faucet's pages work without this. It adds: reading an owner id from the picture of a code,
// where the browser can, and a payment that is seen to become final. Texts stay texts.
"use strict";

function offerScan() {
  const button = document.getElementById("scan");
  if (!button || !("BarcodeDetector" in window)) return;
  const file = document.getElementById("scan-file");
  const owner = document.getElementById("owner");
  const says = document.getElementById("scan-says");
  const say = (text) => { says.hidden = false; says.textContent = text; };
  button.hidden = false;
  button.addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    try {
      const picture = await createImageBitmap(file.files[0]);
      const codes = await new BarcodeDetector({ formats: ["qr_code"] }).detect(picture);
      if (!codes.length) return say("There is no code in that picture.");
      owner.value = codes[0].rawValue.slice(0, owner.maxLength);
      say("Read. Look whether it is yours, then get it.");
      owner.focus();
    } catch {
      say("That picture could not be read.");
    } finally {
      file.value = "";
    }
  });
}

function badge(place, { kind, text }) {
  place.className = `badge ${/^[a-z]+$/.test(kind) ? kind : "idle"}`;
  place.textContent = text;
}

function showServer(rows, server) {
  let row = rows.querySelector(`[data-place="${CSS.escape(server.place)}"]`);
  if (!row) {
    row = document.createElement("tr");
    row.dataset.place = server.place;
    const name = document.createElement("td"), word = document.createElement("td");
    name.className = "id";
    name.textContent = server.place;
    word.className = "right";
    word.append(document.createElement("span"));
    row.append(name, word);
    rows.append(row);
  }
  badge(row.querySelector("span"), server);
}

function followClaim() {
  const root = document.querySelector("[data-claim]");
  if (!root) return;
  const source = new EventSource(root.dataset.claim);
  source.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    badge(document.getElementById("state"), state);
    document.getElementById("took").textContent = state.took;
    document.getElementById("votes").textContent = state.votes;
    const rows = document.getElementById("servers");
    for (const server of state.servers) showServer(rows, server);
    const none = document.getElementById("no-servers");
    if (none && state.servers.length) none.remove();
    if (state.ended) source.close();
  });
  addEventListener("pagehide", () => source.close());
}

offerScan();
followClaim();
