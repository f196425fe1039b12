/* Shows a token's exact value: for the pointer, for touch, and for the keyboard.

   An excerpt (.excerpt) carries its values once, in data-real and data-simulated: in base64, four bytes a value where
   single precision holds them all, else eight. The n-th <b> of each of its .tokens has the n-th value. Everything hangs
   on the document, so that what htmx swaps in works as well. */
"use strict";
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  const live = document.createElement("div");
  live.className = "hidden";
  live.setAttribute("aria-live", "polite");

  // htmx puts a kept copy of the page back on "back": our two elements stay out of it, and are put in again when needed.
  function attach() {
    if (!tip.isConnected) document.body.append(tip, live);
  }
  document.addEventListener("DOMContentLoaded", attach);
  document.addEventListener("htmx:beforeHistorySave", () => {
    hide();
    tip.remove();
    live.remove();
  });

  let marked = [];
  let at = null; // {excerpt, panel, index} that is shown

  const minus = (text) => text.replaceAll("-", "\u2212");
  const tokensOf = (panel) => panel.querySelectorAll("b");

  function find(target) {
    const token = target instanceof Element && target.closest(".excerpt .tokens b");
    if (!token) return null;
    const panel = token.closest(".tokens");
    return { excerpt: token.closest(".excerpt"), panel, index: Array.prototype.indexOf.call(tokensOf(panel), token) };
  }

  // Returns one of an excerpt's values with five digits, which tell any two half-precision numbers apart; "" without any.
  function written(base64, count, index) {
    if (!base64) return "";
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const value = bytes.length < 8 * count ? view.getFloat32(4 * index, true) : view.getFloat64(8 * index, true);
    return String(Number(value.toPrecision(5)));
  }

  function lines(place) {
    const token = tokensOf(place.panel)[place.index];
    const text = "e" in token.dataset ? token.dataset.e : token.textContent;
    const count = tokensOf(place.panel).length;
    const value = (name) => written(place.excerpt.dataset[name], count, place.index);
    const rows = [["token", "\u201c" + text + "\u201d"]];
    if (value("real")) rows.push(["real", minus(value("real"))]);
    if (value("simulated")) {
      const of = place.excerpt.dataset.of;
      rows.push(["simulated", minus(value("simulated")) + (of ? " of " + of : "")]);
    }
    return rows;
  }

  function draw(rows) {
    tip.replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("div");
      const label = document.createElement("span");
      label.textContent = name + " ";
      row.append(label, value);
      return row;
    }));
  }

  function place(token) {
    const box = token.getClientRects()[0] || token.getBoundingClientRect();
    const left = Math.min(Math.max(4, box.left), document.documentElement.clientWidth - tip.offsetWidth - 4);
    const above = box.top - tip.offsetHeight - 6;
    const top = above > 4 ? above : token.getBoundingClientRect().bottom + 6;
    tip.style.left = Math.max(4, left) + window.scrollX + "px";
    tip.style.top = top + window.scrollY + "px";
  }

  function show(next, speak) {
    hide();
    attach();
    at = next;
    // The same token in every panel of the excerpt: real and simulated are found at one glance.
    marked = [...at.excerpt.querySelectorAll(".tokens")].map((panel) => tokensOf(panel)[at.index]).filter(Boolean);
    marked.forEach((token) => token.classList.add("at"));
    const rows = lines(at);
    draw(rows);
    tip.hidden = false;
    place(tokensOf(at.panel)[at.index]);
    if (speak) live.textContent = rows.map(([name, value]) => name + " " + value).join(", ");
  }

  function hide() {
    marked.forEach((token) => token.classList.remove("at"));
    marked = [];
    at = null;
    tip.hidden = true;
  }

  document.addEventListener("pointerover", (event) => {
    const found = find(event.target);
    if (found) show(found, false);
    else if (at && event.pointerType === "mouse") hide();
  });
  document.addEventListener("pointerdown", (event) => {
    const found = find(event.target);
    if (found) show(found, false);
    else hide();
  });
  document.addEventListener("focusin", (event) => {
    const excerpt = event.target;
    const panel = excerpt.matches(".excerpt:focus-visible") && excerpt.querySelector(".tokens");
    if (panel && tokensOf(panel).length) show({ excerpt, panel, index: 0 }, false);
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("htmx:beforeSwap", hide);

  const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

  function walk(event, excerpt) {
    const panel = at && at.excerpt === excerpt ? at.panel : excerpt.querySelector(".tokens");
    if (!panel) return;
    const last = tokensOf(panel).length - 1;
    const index = at && at.excerpt === excerpt ? at.index : -1;
    let next;
    if (event.key === "Home") next = 0;
    else if (event.key === "End") next = last;
    else if (event.key in STEPS) next = Math.min(last, Math.max(0, index + STEPS[event.key]));
    else return;
    event.preventDefault();
    if (last >= 0) show({ excerpt, panel, index: next }, true);
  }

  function turn(event) {
    if (!(event.key in STEPS)) return;
    const link = document.querySelector(STEPS[event.key] < 0 ? "a[rel=prev]" : "a[rel=next]");
    if (link) link.click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    const focused = document.activeElement;
    if (event.key === "Escape") hide();
    else if (focused && focused.matches(".excerpt")) walk(event, focused);
    else if (!focused || focused === document.body) turn(event);
  });
})();
