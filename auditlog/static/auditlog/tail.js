// Shows audit records as they come. Every text is set as text: a record never becomes markup.
(() => {
  const MOST_ROWS = 500;
  const body = document.getElementById("tail-records");
  const state = document.getElementById("tail-state");
  const form = document.getElementById("tail-filter");
  const pause = document.getElementById("tail-pause");
  const REASONS = { 4403: "You may not watch the audit log (any more).", 4429: "Too many watchers." };
  let socket = null;
  let paused = false;
  let retry = 1000;

  function row(record) {
    const line = document.createElement("tr");
    line.className = "border-t border-base-200 dark:border-base-800";
    const cells = [
      record.time.slice(0, 23).replace("T", " "), record.event, record.principal, record.decision,
      record.status, record.method, record.path, record.route, record.client_ip,
    ];
    cells.forEach((value, index) => {
      const cell = document.createElement("td");
      cell.className = "break-all px-3 py-1.5" + (index === 0 ? " font-mono whitespace-nowrap" : "");
      if (index === 3 && value) {
        cell.className += value === "allow" ? " text-green-700 dark:text-green-400" : " text-red-700 dark:text-red-400";
      }
      if (index === 1) {
        const link = document.createElement("a");
        link.href = `${body.dataset.record}${encodeURIComponent(record.event_id)}/change/`;
        link.className = "underline";
        link.textContent = value;
        cell.append(link);
      } else {
        cell.textContent = value ?? "";
      }
      line.append(cell);
    });
    return line;
  }

  function show(message) {
    if (paused) return;
    message.records.forEach((record) => body.prepend(row(record)));
    while (body.rows.length > MOST_ROWS) body.deleteRow(-1);
    state.textContent = message.skipped ? `Live; ${message.skipped} not shown` : "Live";
  }

  function open() {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const mine = new WebSocket(`${scheme}://${location.host}${body.dataset.socket}?${query}`);
    socket = mine;
    mine.onopen = () => { retry = 1000; state.textContent = "Live"; body.replaceChildren(); };
    mine.onmessage = (event) => { if (socket === mine) show(JSON.parse(event.data)); };
    mine.onclose = (event) => {
      if (socket !== mine) return;
      state.textContent = REASONS[event.code] ?? "Not connected; trying again …";
      if (event.code in REASONS) return;
      setTimeout(open, retry);
      retry = Math.min(retry * 2, 30000);
    };
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const old = socket;
    open();
    old?.close();
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    state.textContent = paused ? "Paused" : "Live";
  });
  open();
})();
