// Everything that is wrong with the layout of a page, in words.
() => {
  const troubles = [];
  const screen = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > screen) troubles.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const shown = (element) => element.checkVisibility() && element.getClientRects().length > 0 && !element.closest(".hidden, thead")
    && getComputedStyle(element).clipPath === "none";
  // Words are whole. A name may go on in the next line: after a hyphen or a slash, or where a line is long.
  for (const cell of document.querySelectorAll("th, td, dt, dd, li, .job p")) {
    if (!shown(cell)) continue;
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      if (!shown(text.parentElement) || text.parentElement.closest("svg")) continue;
      for (const match of text.data.matchAll(/\S+/g)) {
        const range = document.createRange();
        range.setStart(text, match.index);
        range.setEnd(text, match.index + match[0].length);
        const lines = [...range.getClientRects()].filter((box) => box.width > 1);
        const least = Math.min(...lines.slice(0, -1).map((box) => box.width));
        const right = Math.max(...lines.map((box) => box.right));
        const room = /[-/·]/.test(match[0]) ? cell.clientWidth : least;
        if (lines.length > 1 && room < 90) troubles.push(`"${match[0]}" is broken`);
        if (right > screen + 1) troubles.push(`"${match[0]}" is cut`);
      }
    }
  }
  // Text of charts and legends is within the screen, neither shortened nor too small to read.
  for (const text of document.querySelectorAll("svg text, .legend *")) {
    if (!shown(text) || !text.textContent.trim() || getComputedStyle(text).opacity === "0") continue;
    const box = text.getBoundingClientRect();
    const card = (text.closest("figure, .card") ?? document.body).getBoundingClientRect();
    if (box.left < card.left - 1 || box.right > card.right + 1) troubles.push(`"${text.textContent}" of a chart is cut`);
    if (text.textContent.endsWith("…")) troubles.push(`"${text.textContent}" of a chart is shortened`);
    if (box.height < 9) troubles.push(`"${text.textContent}" of a chart is ${box.height} high`);
  }
  // Nothing needs to be scrolled sideways.
  for (const box of document.querySelectorAll(".scroll, figure, .chart")) {
    if (shown(box) && box.scrollWidth > box.clientWidth + 1) troubles.push(`${box.getAttribute("aria-label") ?? box.className} is cut`);
  }
  return [...new Set(troubles)];
}
