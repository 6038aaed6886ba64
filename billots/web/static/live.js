// What is new, on a page that works without this. <section data-live="/live"> names a stream of
// events: "item" fills the <template> of a list and puts it first, "set" puts texts in places.
// Texts stay texts: nothing here can make markup of them, and the browser is told to see to that.
"use strict";

function put(root, fields) {
  for (const [name, value] of Object.entries(fields)) {
    for (const place of root.querySelectorAll(`[data-field="${CSS.escape(name)}"]`)) {
      place.textContent = value;
    }
    for (const link of root.querySelectorAll(`a[data-link="${CSS.escape(name)}"]`)) {
      if (/^\/[a-z]/.test(value)) link.setAttribute("href", value);
    }
  }
}

function addItem(root, { list, key, fields }) {
  const place = root.querySelector(`[data-live-list="${CSS.escape(list)}"]`);
  const template = root.querySelector(`template[data-live-item="${CSS.escape(list)}"]`);
  if (!place || !template) return;
  const known = key && place.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (known) return put(known, fields);
  const item = template.content.cloneNode(true).firstElementChild;
  if (key) item.dataset.key = key;
  item.classList.add("fresh");
  put(item, fields);
  place.prepend(item);
  const most = Number(place.dataset.liveMax || 20);
  while (place.children.length > most) place.lastElementChild.remove();
  for (const empty of root.querySelectorAll(`[data-live-empty="${CSS.escape(list)}"]`)) empty.remove();
}

function follow(root) {
  const status = root.querySelector("[data-live-status]");
  const say = (state, text) => {
    if (!status || status.dataset.state === state) return;
    status.dataset.state = state;
    status.textContent = text;
  };
  let source = null;
  const open = () => {
    source = new EventSource(root.dataset.live);
    source.onopen = () => say("live", "Live");
    source.onerror = () => {
      say("waiting", "Connecting again…");
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 10000); // refused: too many
    };
    source.addEventListener("item", (event) => addItem(root, JSON.parse(event.data)));
    source.addEventListener("set", (event) => {
      for (const [name, value] of Object.entries(JSON.parse(event.data))) {
        for (const place of root.querySelectorAll(`[data-set="${CSS.escape(name)}"]`)) {
          place.textContent = value;
        }
      }
    });
  };
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
}

for (const root of document.querySelectorAll("[data-live]")) follow(root);
