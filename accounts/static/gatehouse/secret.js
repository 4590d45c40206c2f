// Copies a key's secret, and takes it out of the page when the page is left: going back must not show it.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  const secret = button.parentElement.querySelector("[data-secret]");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(secret.textContent);
      button.textContent = "Copied";
    } catch {
      // Without TLS a browser gives no clipboard: select it for the keyboard.
      window.getSelection().selectAllChildren(secret);
      button.textContent = "Press Ctrl+C";
    }
  });
}

window.addEventListener("pagehide", () => {
  for (const secret of document.querySelectorAll("[data-secret]")) secret.textContent = "";
});
