// From a detector's landmarks to the crop that the network takes: plain Swift, which knows no detector.
import Foundation

/// A point of a photo: x to the right, y down, in pixels; whole numbers are the centres of pixels.
public struct Point {
    public let x: Double
    public let y: Double

    public init(_ x: Double, _ y: Double) {
        self.x = x
        self.y = y
    }

    static func middle(_ points: [Point]) -> Point {
        let count = Double(points.count)
        return Point(points.reduce(0.0) { $0 + $1.x } / count, points.reduce(0.0) { $0 + $1.y } / count)
    }
}

/// A point that was found on a face, and where it must lie in the crop.
public struct Anchor {
    public let found: Point
    public let wanted: Point

    public init(found: Point, wanted: Point) {
        self.found = found
        self.wanted = wanted
    }

    private static func wanted(_ point: Int) -> Point {
        return Point(Contract.template[2 * point], Contract.template[2 * point + 1])
    }

    /// Gives the anchors of two eyes' centres and two mouth corners, in whichever order a detector calls them left and
    /// right, and of the nose's tip where there is one. Where a detector gives the nose's base instead, that loses less
    /// than no nose at all.
    public static func of(eyes: [Point], noseTip: Point?, mouthCorners: [Point]) -> [Anchor] {
        precondition(eyes.count == 2 && mouthCorners.count == 2, "two eyes and two mouth corners are needed")
        let above = Point.middle(eyes)
        let below = Point.middle(mouthCorners)
        // Seen upright, what lies left has the smaller x: so points are told apart along the line across the face.
        func across(_ point: Point) -> Double {
            return (point.x - above.x) * (below.y - above.y) - (point.y - above.y) * (below.x - above.x)
        }
        func ordered(_ points: [Point]) -> [Point] {
            return points.sorted { across($0) < across($1) }
        }
        let found: [Point?] = ordered(eyes) + [noseTip] + ordered(mouthCorners)
        return found.enumerated().compactMap { place, point in
            point.map { Anchor(found: $0, wanted: wanted(place)) }
        }
    }

    /// Gives the anchors of Apple's Vision: the points of `VNFaceLandmarks2D`'s regions `leftEye`, `rightEye`,
    /// `noseCrest` and `outerLips` by `pointsInImage(imageSize:)`, whose y counts from the lower edge.
    public static func ofVision(
        leftEye: [CGPoint], rightEye: [CGPoint], noseCrest: [CGPoint], outerLips: [CGPoint], imageHeight: Int
    ) -> [Anchor] {
        func upright(_ point: CGPoint) -> Point {
            return Point(Double(point.x) - 0.5, Double(imageHeight) - Double(point.y) - 0.5)
        }
        let eyes = [leftEye, rightEye].map { Point.middle($0.map(upright)) }
        let lips = outerLips.map(upright)
        let between = Point(eyes[1].x - eyes[0].x, eyes[1].y - eyes[0].y)
        func along(_ point: Point) -> Double {
            return point.x * between.x + point.y * between.y
        }
        guard let first = lips.min(by: { along($0) < along($1) }), let last = lips.max(by: { along($0) < along($1) })
        else { return [] }
        // The crest runs from between the eyes to the tip.
        let middle = Point.middle(eyes)
        let tip = noseCrest.map(upright).max { one, other in
            hypot(one.x - middle.x, one.y - middle.y) < hypot(other.x - middle.x, other.y - middle.y)
        }
        return of(eyes: eyes, noseTip: tip, mouthCorners: [first, last])
    }
}

/// Rotation, scale and shift, never a mirror image: crop x = a * x - b * y + dx, crop y = b * x + a * y + dy.
public struct Similarity {
    public let a: Double
    public let b: Double
    public let dx: Double
    public let dy: Double

    /// Brings what was found nearest to where it must lie, by the sum of squared distances.
    public init(_ anchors: [Anchor]) throws {
        let from = Point.middle(anchors.map { $0.found })
        let to = Point.middle(anchors.map { $0.wanted })
        var along = 0.0
        var across = 0.0
        var size = 0.0
        for anchor in anchors {
            let x = anchor.found.x - from.x
            let y = anchor.found.y - from.y
            let u = anchor.wanted.x - to.x
            let v = anchor.wanted.y - to.y
            along += x * u + y * v
            across += x * v - y * u
            size += x * x + y * y
        }
        guard anchors.count >= 2, size > 0, size.isFinite else { throw FaceError.landmarks }
        a = along / size
        b = across / size
        dx = to.x - a * from.x + b * from.y
        dy = to.y - b * from.x - a * from.y
    }

    /// How many pixels of the photo, along x and along y, become one of the crop: as many are averaged.
    var step: Int {
        return max(1, Int((1 / hypot(a, b) + 1e-6).rounded(.down)))
    }

    /// Gives where a pixel of the crop lies in the photo.
    func back(_ x: Int, _ y: Int) -> Point {
        let length = a * a + b * b
        let u = Double(x) - dx
        let v = Double(y) - dy
        return Point((a * u + b * v) / length, (a * v - b * u) / length)
    }
}

/// A picture's pixels: four bytes R, G, B, A each, row by row.
public struct Pixels {
    public let rgba: [UInt8]
    public let width: Int
    public let height: Int

    public init(rgba: [UInt8], width: Int, height: Int) {
        precondition(rgba.count == 4 * width * height, "\(rgba.count) bytes are not 4 x \(width) x \(height)")
        self.rgba = rgba
        self.width = width
        self.height = height
    }

    /// Cuts the crop, bilinear, black beyond the photo's edge. Where two or more pixels of the photo become one of the
    /// crop, along x and along y, they are averaged first.
    public func cut(_ similarity: Similarity) -> Pixels {
        let step = similarity.step
        let small = step > 1 ? averaged(step) : self
        var bytes = [UInt8](repeating: 0, count: 4 * Contract.height * Contract.width)
        for row in 0..<Contract.height {
            for column in 0..<Contract.width {
                let place = similarity.back(column, row)
                let x = (place.x + 0.5) / Double(step)
                let y = (place.y + 0.5) / Double(step)
                let pixel = 4 * (row * Contract.width + column)
                bytes[pixel + 3] = 255
                if x < 0 || x >= Double(small.width) || y < 0 || y >= Double(small.height) { continue }
                for channel in 0..<3 {
                    bytes[pixel + channel] = small.between(x - 0.5, y - 0.5, channel)
                }
            }
        }
        return Pixels(rgba: bytes, width: Contract.width, height: Contract.height)
    }

    private func between(_ x: Double, _ y: Double, _ channel: Int) -> UInt8 {
        let left = Int(x.rounded(.down))
        let top = Int(y.rounded(.down))
        func value(_ column: Int, _ row: Int) -> Double {
            let inside = min(max(row, 0), height - 1) * width + min(max(column, 0), width - 1)
            return Double(rgba[4 * inside + channel])
        }
        func across(_ row: Int) -> Double {
            return value(left, row) + (value(left + 1, row) - value(left, row)) * (x - Double(left))
        }
        return UInt8(across(top) + (across(top + 1) - across(top)) * (y - Double(top)))
    }

    /// Gives the means of squares of `step` x `step` pixels; those at the right and lower edge may be smaller.
    private func averaged(_ step: Int) -> Pixels {
        let columns = (width + step - 1) / step
        let rows = (height + step - 1) / step
        var bytes = [UInt8](repeating: 255, count: 4 * columns * rows)
        for row in 0..<rows {
            for column in 0..<columns {
                let xs = (column * step)..<min((column + 1) * step, width)
                let ys = (row * step)..<min((row + 1) * step, height)
                let count = xs.count * ys.count
                for channel in 0..<3 {
                    var sum = count / 2
                    for y in ys {
                        for x in xs { sum += Int(rgba[4 * (y * width + x) + channel]) }
                    }
                    bytes[4 * (row * columns + column) + channel] = UInt8(sum / count)
                }
            }
        }
        return Pixels(rgba: bytes, width: columns, height: rows)
    }
}
