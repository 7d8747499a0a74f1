"use strict";

/* The plots: drawn as SVG from the data in the page, anew when their width or the choice of curves changes. */
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = { m: 7, p: 8 }; // as the style sheet has them
  const MARGIN = { left: 58, right: 12, top: 10, bottom: 42 };
  const SHAPES = ["circle", "square", "up", "diamond", "down", "left", "right", "pentagon"];
  const REACH = 60; // pixels from a point at which it answers to the pointer

  const publishedNames = [];
  for (const plot of data.plots) {
    for (const curve of plot.curves) {
      if (curve.source && !publishedNames.includes(curve.codec)) publishedNames.push(curve.codec);
    }
  }
  const hidden = new Set(publishedNames.slice(COLOURS.p).map((name) => "p" + name));

  const keyOf = (curve) => (curve.source ? "p" : "m") + curve.codec;

  function svg(name, attributes, parent) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  }

  function html(name, className, text, parent) {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  }

  /* Class and shape of a codec: the same in the legend and in every plot. */
  function look(isPublished, codec) {
    const index = (isPublished ? publishedNames : data.codecs).indexOf(codec);
    if (!isPublished) return { className: `m${index % COLOURS.m}`, shape: SHAPES[index % SHAPES.length] };
    const round = Math.floor(index / COLOURS.p); // as many shapes as colours: else each would keep its shape
    return { className: `published p${index % COLOURS.p}`, shape: SHAPES[(index + round) % SHAPES.length] };
  }

  function drawMarker(shape, x, y, size, parent) {
    if (shape === "circle") return svg("circle", { cx: x, cy: y, r: size, class: "marker" }, parent);
    const corners = { square: 4, diamond: 4, pentagon: 5 }[shape] || 3;
    const turn = { square: 45, diamond: 0, up: 0, right: 90, down: 180, left: 270, pentagon: 0 }[shape];
    const points = [];
    for (let i = 0; i < corners; i++) {
      const angle = ((turn + (360 * i) / corners - 90) * Math.PI) / 180;
      points.push(`${(x + 1.3 * size * Math.cos(angle)).toFixed(2)},${(y + 1.3 * size * Math.sin(angle)).toFixed(2)}`);
    }
    return svg("polygon", { points: points.join(" "), class: "marker" }, parent);
  }

  function drawLegend() {
    const legend = document.getElementById("legend");
    const measured = data.codecs.filter((name) => data.plots.some((p) => p.curves.some((c) => !c.source && c.codec === name)));
    addGroup(legend, "measured", measured, false);
    if (publishedNames.length) {
      html("p", "hint", "Dashed: published figures, which may follow other protocols. Their sources show at their points.", legend);
      addGroup(legend, "published", publishedNames, true);
    }
  }

  function addGroup(legend, title, names, isPublished) {
    const group = html("div", names.length > 16 ? "group long" : "group", "", legend);
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `${title} curves`);
    const boxes = names.map((name) => {
      const { className, shape } = look(isPublished, name);
      const label = html("label", "", "", group);
      const box = html("input", "", "", label);
      box.type = "checkbox";
      box.checked = !hidden.has((isPublished ? "p" : "m") + name);
      box.dataset.key = (isPublished ? "p" : "m") + name;
      const sample = svg("svg", { width: 30, height: 14, class: className, "aria-hidden": "true" }, label);
      svg("path", { d: "M1 7H29", class: "curve" }, sample);
      drawMarker(shape, 15, 7, isPublished ? 3 : 4, sample);
      html("span", "", name, label);
      box.addEventListener("change", () => setShown([box]));
      return box;
    });
    if (names.length < 2) return;
    for (const [text, value] of [["all", true], ["none", false]]) {
      const button = html("button", "small-button", text, group);
      button.type = "button";
      button.setAttribute("aria-label", `show ${text} of the ${title} curves`);
      button.addEventListener("click", () => {
        for (const box of boxes) box.checked = value;
        setShown(boxes);
      });
    }
  }

  function setShown(boxes) {
    for (const box of boxes) {
      if (box.checked) hidden.delete(box.dataset.key);
      else hidden.add(box.dataset.key);
    }
    for (const redraw of redraws) redraw();
  }

  /* Steps of 1, 2 or 5 times a power of ten. */
  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push({ value: i * step, text: (i * step).toFixed(decimals) });
    return found;
  }

  /* The axes, from zero rate: they hold all measured points, or all published ones where no measured curve is shown. */
  function windowOf(curves) {
    const measured = curves.filter((curve) => !curve.source);
    const points = (measured.length ? measured : curves).flatMap((curve) => curve.points);
    const values = points.map((point) => point[1]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
    return { right: 1.05 * Math.max(...points.map((point) => point[0])), bottom: low - margin, top: high + margin };
  }

  function addPlot(plot, number, parent) {
    const figure = html("figure", "plot", "", parent);
    html("figcaption", "", `${plot.label}, ${plot.higherIsBetter ? "higher" : "lower"} is better`, figure);
    const picture = svg("svg", { tabindex: 0, role: "group" }, figure);
    picture.setAttribute("aria-label", `${plot.label} over the rate; the arrow keys go from point to point`);
    const tip = html("div", "tip", "", figure);
    tip.setAttribute("role", "status");
    tip.hidden = true;
    let reach = []; // for each shown curve, its points within the axes
    let spot = null;
    let current = null; // [curve, point]

    function hide() {
      tip.hidden = true;
      if (spot) spot.remove();
      spot = current = null;
    }

    function show(curve, point) {
      const { x, y, text } = reach[curve][point];
      if (spot) spot.remove();
      spot = svg("circle", { cx: x, cy: y, r: 8, class: "spot" }, picture);
      current = [curve, point];
      tip.textContent = text;
      tip.hidden = false;
      const onLeft = x > figure.clientWidth / 2;
      tip.style.left = onLeft ? "auto" : `${x + 14}px`;
      tip.style.right = onLeft ? `${figure.clientWidth - x + 14}px` : "auto";
      tip.style.top = `${Math.max(0, picture.getBoundingClientRect().top - figure.getBoundingClientRect().top + y - tip.offsetHeight - 6)}px`;
    }

    function draw() {
      hide();
      const width = Math.max(280, figure.clientWidth);
      const height = Math.round(Math.min(400, Math.max(260, 0.62 * width)));
      picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
      picture.replaceChildren();
      const curves = plot.curves.filter((curve) => !hidden.has(keyOf(curve)));
      reach = [];
      if (!curves.length) {
        svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "tick" }, picture).textContent = "no curve is chosen";
        return;
      }
      const axes = windowOf(curves);
      const x = (bpp) => MARGIN.left + (bpp / axes.right) * (width - MARGIN.left - MARGIN.right);
      const y = (value) => MARGIN.top + ((axes.top - value) / (axes.top - axes.bottom)) * (height - MARGIN.top - MARGIN.bottom);
      const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
      for (const tick of ticks(0, axes.right, width / 90)) {
        svg("path", { d: `M${x(tick.value)} ${top}V${bottom}`, class: "grid" }, picture);
        svg("text", { x: x(tick.value), y: bottom + 16, "text-anchor": "middle", class: "tick" }, picture).textContent = tick.text;
      }
      for (const tick of ticks(axes.bottom, axes.top, height / 42)) {
        svg("path", { d: `M${left} ${y(tick.value)}H${right}`, class: "grid" }, picture);
        svg("text", { x: left - 6, y: y(tick.value) + 4, "text-anchor": "end", class: "tick" }, picture).textContent = tick.text;
      }
      svg("path", { d: `M${left} ${top}V${bottom}H${right}`, class: "axis", fill: "none" }, picture);
      svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, picture).textContent = "rate (bits per pixel)";
      const clip = svg("clipPath", { id: `clip-${number}` }, picture);
      svg("rect", { x: left, y: top, width: right - left, height: bottom - top }, clip);
      // Published curves lie below measured ones.
      for (const curve of [...curves].sort((a, b) => Boolean(b.source) - Boolean(a.source))) {
        const { className, shape } = look(Boolean(curve.source), curve.codec);
        const group = svg("g", { class: className }, picture);
        const line = curve.points.map(([bpp, value], i) => `${i ? "L" : "M"}${x(bpp).toFixed(2)} ${y(value).toFixed(2)}`).join("");
        svg("path", { d: line, class: "curve", "clip-path": `url(#clip-${number})` }, group);
        const inside = curve.points.filter(([bpp, value]) => bpp <= axes.right && value >= axes.bottom && value <= axes.top);
        for (const [bpp, value] of inside) drawMarker(shape, x(bpp), y(value), curve.source ? 3 : 4, group);
        if (inside.length) reach.push(inside.map(([bpp, value, setting]) => ({ x: x(bpp), y: y(value), text: describe(curve, bpp, value, setting) })));
      }
    }

    function describe(curve, bpp, value, setting) {
      const name = setting ? `${curve.codec}, setting ${setting}` : curve.codec;
      const source = curve.source ? `\npublished: ${curve.source}` : "";
      return `${name}\n${bpp.toFixed(4)} bpp\n${plot.label}: ${Number(value.toPrecision(5))}${source}`;
    }

    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      let best = null;
      reach.forEach((points, curve) => points.forEach((point, index) => {
        const distance = Math.hypot(point.x - (event.clientX - box.left), point.y - (event.clientY - box.top));
        if (distance < REACH && (!best || distance < best.distance)) best = { distance, curve, index };
      }));
      if (best) show(best.curve, best.index);
      else hide();
    });
    picture.addEventListener("pointerleave", hide);
    picture.addEventListener("blur", hide);
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[event.key];
      if (event.key === "Escape") hide();
      if (!step || !reach.length) return;
      event.preventDefault();
      if (!current) return show(reach.length - 1, 0);
      const curve = (current[0] + step[0] + reach.length) % reach.length;
      const point = Math.min(reach[curve].length - 1, Math.max(0, current[1] + step[1]));
      show(curve, point);
    });

    let width = 0;
    new ResizeObserver(() => {
      if (figure.clientWidth !== width) {
        width = figure.clientWidth;
        draw();
      }
    }).observe(figure);
    return draw;
  }

  drawLegend();
  const redraws = data.plots.map((plot, number) => addPlot(plot, number, document.getElementById("plots")));
  if (!data.plots.length) html("p", "", "There are no curves.", document.getElementById("plots"));
})();
